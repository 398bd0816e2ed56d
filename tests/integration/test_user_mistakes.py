"""Tests the error lines for mistakes in commands."""

import pytest

from tests.helpers import commands
from tests.helpers.commands import TINY

# A command and the fragments of its error line, by default the last flag.
MISTAKES = [
  ('train --k=0',),
  ('train --k=-1',),
  ('train --k=x',),
  ('train --k=nan',),
  ('train --k=1001',),
  ('train --update=simultaneous --k=2',),
  ('train --update=extragradient --k=auto',),
  ('train --consensus=0.1', '--consensus=0.1', '--update=simultaneous'),
  ('train --update=rk4', '--g_optimizer=adam', '--g_optimizer=sgd --g_b1=0'),
  ('train --update=unrolled --unroll=101',),
  ('train --loss=hinge --label_smoothing=0.1',),
  ('train --label_smoothing=0.7',),
  ('train --r1=0 --loss=wasserstein', '--loss=wasserstein', '--gradient_penalty=10'),
  ('train --max_norm=0.01 --d_clip=0.1',),
  ('train --r1_every=0',),
  ('train --ada_target=0.6', '--ada_target=0.6', '--augment=ada'),
  ('train --augment_p=1.5',),
  ('train --augment=mixup',),
  ('train --g_optimizer=sgd_2014', '--g_b2=0.999', '--g_b2=0.7'),
  ('train --dataset=stacked_mnist --contrast=55', '--contrast', '--contrast=0'),
  ('train --dataset=ring --run={tmp}/run --conditional', '--conditional', '--noconditional'),
  ('train --dataset=ring --network=relu --run={tmp}/run --augment=flip',),
  (
    'train --dataset=ring --network=relu --run={tmp}/run --stream=yes',
    '--stream=yes',
    '--stream=auto',
  ),
  ('train {tiny} --run={tmp}/run --stream=perhaps',),
  ('train --network=relu --d_dropout {tiny} --run={tmp}/run', '--d_dropout'),
  ('train {tiny} --run={tmp}/run --network=dirac',),
  ('train --dataset=folder:{tmp}/none --run={tmp}/run', 'folder:{tmp}/none'),
  ('train --g_lr=-0.1',),
  ('train --d_lr=0', '--d_lr=0.0'),
  ('train --g_lr=nan',),
  ('train --d_lr=inf',),
  ('train --dataset=nope --run={tmp}/run', '--dataset=nope'),
  ('train --dataset=../nope --run={tmp}/run', '--dataset=../nope'),
  ('train --loss=nope',),
  ('train --flagfile=nope', '--flagfile', "'nope'", 'presets are', 'mnist_2014'),
  ('train --nope=3', "'nope'"),
  ('train --steps=many',),
  ('train --d_dropout=perhaps',),
  ('train --batch_size=0',),
  ('train {tiny} --run={tmp}/run --batch_size=2001', '--batch_size=2001', '2000'),
  (
    'train {tiny} --run={tmp}/run --devices=4 --batch_size=6',
    '--batch_size=6',
    '--batch_size=4 or 8',
  ),
  ('train {tiny} --run={tmp}/run --devices=-1',),
  ('train --steps=0',),
  ('train --from={tmp}/none --run={tmp}/run', '--from={tmp}/none', 'no run here'),
  ('train --from={tmp}/none', '--from={tmp}/none', '--run=FOLDER'),
  ('train --run={tmp}/run --from_checkpoint=best', '--from_checkpoint=best', '--from=FOLDER'),
  ('train --steps=2147483648',),
  ('train --ema_decay=1', '--ema_decay=1.0'),
  ('train --g_b1=1.5',),
  ('train --d_b2=-0.1',),
  ('train --r1=-1', '--r1=-1.0'),
  ('train --latent_size=0',),
  ('train --seed=-1',),
  ('train --log_every=0',),
  ('train --keep=0',),
  ('train --g_optimizer=adam --g_schedule=2014',),
  ('train mnist', 'unexpected arguments: mnist'),
  ('train {tiny} --run={done} --g_width=48', '--run={done}', '--g_width is 32, now 48'),
  ('train {tiny} --run={done} --r1=2 --k=3', '--k is 1, now 3', '--r1 is 1.0, now 2.0'),
  ('train {tiny} --run={other}', '--run={other}', 'not empty'),
  ('train {tiny} --run={file}', '--run={file}'),
  ('train {tiny} --run={file}/run', '--run={file}/run'),
  ('train {tiny} --run=/dev/null/run',),
  ('train {tiny} --run=/proc/run',),
  ('train {tiny} --data_dir={tmp} --run={tmp}/run', '--dataset=few_digits'),
  ('evaluate', '--run'),
  ('evaluate --run={other}',),
  ('evaluate --run={tmp}/none',),
  ('evaluate --run={file}', '{file}'),
  ('evaluate --run={done} --seed=-1',),
  ('evaluate --run={done} --split=train',),
  ('evaluate --run={done} --checkpoint=9999', '--checkpoint=9999', '500, 750, 1000'),
  ('evaluate --run={done} --checkpoint=-1',),
  ('evaluate --run={done} --num_samples=1',),
  ('compare', '--runs='),
  ('compare --runs={tmp}/none',),
  ('compare --runs={tmp}/none,{done}', '--runs={tmp}/none'),
  ('compare --runs={tmp}/other,{done}', '{tmp}/other', 'experiments.evaluate'),
  ('evaluate --run={done} --against=all',),
  ('evaluate --run={done} --inception={tmp}/none.npz',),
  ('evaluate --run={done} --inception={file}', '--inception={file}', '.safetensors or .npz'),
  ('evaluate --run={done} --inception={file}.pth', '--inception={file}.pth', 'docs/evaluation.md'),
  ('sample --output={tmp}/x.png', '--run'),
  ('sample --run={done}', '--output'),
  ('sample --output={tmp}/x.png --run={other}',),
  ('sample --run={done} --output={tmp}/x.png --num_samples=0',),
  ('sample --run={done} --output={tmp}/x.npz --num_samples=1000000000000',),
  ('sample --run={done} --output={tmp}/x.png --num_samples=10001',),
  ('sample --run={done} --output={tmp}/x.jpg',),
  ('sample --run={done} --output={tmp}/x.png --weights=best',),
  ('sample --run={done} --interpolate --output={tmp}/x.npz',),
  ('sample --run={done} --output={tmp}/x.png --checkpoint=9999',),
  ('sample --run={done} --output=/dev/null/x.png', '/dev/null'),
  ('sample --run={done} --output=/proc/x.png', '/proc/x.png'),
  ('sample --run={done} --output=/proc/x.npz', 'x.npz'),
  ('sample --run={done} --output=/proc/none/x', '/proc/none'),
  ('prepare_data --dataset=nope',),
  ('prepare_data --dataset=mnist --strict', '--strict'),
  ('train {tiny} --strict --run={tmp}/run', '--strict'),
  ('plot_sweeps', '--sweeps='),
  ('plot_sweeps --sweeps={tmp}/none', '{tmp}/none/results.csv'),
  ('prepare_data --data_dir=/dev/null/x',),
]


@pytest.mark.parametrize('case', MISTAKES, ids=lambda case: case[0])
def test_a_mistake_is_one_line_that_names_it(case, scripts, trained, tmp_path):
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'thesis.tex').touch()
  (tmp_path / 'file').touch()
  values = {
    'tmp': tmp_path,
    'other': tmp_path / 'other',
    'file': tmp_path / 'file',
    'done': trained,
    'tiny': ' '.join(TINY),
  }
  script, *args = case[0].format(**values).split()
  fragments = [fragment.format(**values) for fragment in case[1:]] or args[-1:]
  commands.assert_mistake(scripts(script, *args, cwd=tmp_path), *fragments)


def test_new_processes_print_the_same_as_forks(scripts, trained, env, tmp_path):
  cases = [
    ('train', '--k=0'),
    ('train', '--nope=3'),
    ('train', *TINY, f'--run={trained}', '--g_width=48'),
    ('evaluate', f'--run={tmp_path}'),
    ('sample', f'--run={trained}', '--output=/dev/null/x.png'),
  ]
  processes = [commands.start(*case, env=env) for case in cases]
  for case, process in zip(cases, processes, strict=True):
    assert commands.finish(process) == scripts(*case)


def test_a_folder_can_be_used_again_after_a_late_mistake(scripts, tmp_path):
  run = f'--run={tmp_path / "run"}'
  for batch_size in ('--batch_size=2001', '--batch_size=2002'):
    commands.assert_mistake(scripts('train', *TINY, batch_size, run), batch_size)
