"""Tests scripts as users run them: help, training, sampling, evaluation, signals and divergence."""

import dataclasses
import json
import re
import signal

import jax
import numpy as np
import pytest
from PIL import Image

from gan_jax import data
from gan_jax.config.run_config import Config
from tests.helpers import commands
from tests.helpers.commands import RUN, STEPS, TINY

SCRIPTS = (
  'train',
  'sample',
  'invert',
  'evaluate',
  'prepare_data',
  'compare',
  'referee',
  'sweep',
  'pod',
  'plot_sweeps',
  'figure1',
)

# Help


@pytest.mark.parametrize('script', SCRIPTS)
def test_help_fits_a_screen(script, scripts):
  ended = scripts(script, '--help')
  assert (ended.code, ended.err) == (0, '')
  lines = ended.out.splitlines()
  assert 5 < len(lines) <= 60
  assert max(map(len, lines)) <= 100
  assert f'python -m experiments.{script}' in ended.out


def test_help_has_the_common_flags_and_full_help_has_all(scripts):
  defined = lambda text: re.findall(r'^  --(\w+)=', text, re.MULTILINE)
  brief, full = (scripts('train', flag) for flag in ('--help', '--helpfull'))
  assert (full.code, full.err) == (0, '')
  fields = dataclasses.fields(Config)
  common = [field.name for field in fields if not field.metadata['rare']]
  process_flags = ['run', 'devices', 'map', 'shard_params', 'stream']  # not in config.json
  process_flags += ['coordinator', 'num_processes', 'process_id', 'peer_timeout']
  process_flags += ['from', 'from_checkpoint']
  assert defined(brief.out) == [*process_flags, *common]
  assert defined(full.out) == [*process_flags, *(field.name for field in fields)]
  assert f'and {len(fields) - len(common)} more, by --helpfull' in brief.out
  assert '--helpfull' not in full.out
  assert max(map(len, full.out.splitlines())) <= 100
  for field in fields:
    for choice in field.metadata['choices'] or ():
      assert choice in full.out


def test_help_needs_neither_device_nor_data(env, scripts):
  bare = env | {'JAX_PLATFORMS': 'none', 'GAN_JAX_DATA_DIR': '/nowhere'}
  ended = commands.finish(commands.start('train', '--help', env=bare))
  assert ended == scripts('train', '--help')


# Training, sampling and evaluation


def test_a_run_writes_the_documented_files(trained):
  description = json.loads((trained / 'config.json').read_text())
  assert description['flags']['g_width'] == 32
  assert description['flags']['dataset'] == commands.DATASET
  (machine,) = description['ran_on']
  assert machine['versions']['jax'] == jax.__version__
  assert machine['commit'] is None or re.match('[0-9a-f]{40}', machine['commit'])
  records = commands.records(trained)
  stops = sorted({1, *range(100, STEPS + 1, 100), *range(250, STEPS + 1, 250)})
  assert [r['step'] for r in records if 'd_loss' in r] == stops
  for name in ('validation_parzen_ema', 'validation_frechet_raw', 'score'):
    assert [r['step'] for r in records if name in r] == [500, 1000]
  steps = sorted(path.name for path in (trained / 'checkpoints').iterdir())
  assert steps == ['00000500', '00000750', '00001000']
  (events,) = trained.glob('events.*')
  assert events.stat().st_size > 1000
  kinds = ('grid', 'grid_raw', 'neighbours', 'interpolation')
  expected = {f'{kind}_{step:08d}.png' for kind in kinds for step in (500, 1000)}
  assert {path.name for path in (trained / 'samples').iterdir()} == expected
  for path in [*(trained / 'samples').iterdir(), trained / 'curves.png']:
    with Image.open(path) as picture:
      assert np.asarray(picture).std() > 0
  written = {path.name for path in trained.iterdir()} - {events.name}
  documented = {'config.json', 'metrics.jsonl', 'checkpoints', 'samples', 'curves.png', 'lock'}
  documented |= {'report.html', 'checksums.json'}
  assert written == documented


def test_repeating_the_command_of_a_finished_run_trains_nothing(scripts, trained):
  before = (trained / 'metrics.jsonl').read_bytes()
  ended = scripts('train', *RUN, f'--run={trained}')
  assert (ended.code, ended.err) == (0, '')
  assert ended.out.startswith(f'already finished: {STEPS} steps in {trained}\n')
  assert (trained / 'metrics.jsonl').read_bytes() == before


def test_samples_as_arrays_pictures_and_folders(scripts, trained, tmp_path):
  def draw(name, *args):
    ended = scripts('sample', f'--run={trained}', f'--output={tmp_path / name}', *args)
    assert (ended.code, ended.err) == (0, '')
    assert ended.out.startswith(f'{tmp_path / name}: from step ')
    return tmp_path / name

  def array(path):
    with np.load(path) as arrays:
      return arrays['images']

  images = array(draw('x.npz', '--num_samples=7'))
  assert (images.shape, images.dtype) == ((7, 28, 28, 1), np.uint8)
  assert images.std() > 10
  raw = array(draw('raw.npz', '--num_samples=7', '--weights=raw'))
  other = array(draw('other.npz', '--num_samples=7', '--seed=1'))
  earlier = array(draw('earlier.npz', '--num_samples=7', '--checkpoint=750'))
  assert not any((images == changed).all() for changed in (raw, other, earlier))
  folder = draw('pictures', '--num_samples=7')
  assert sorted(path.name for path in folder.iterdir()) == [f'{i:06d}.png' for i in range(7)]
  for i, image in enumerate(images):
    with Image.open(folder / f'{i:06d}.png') as picture:
      np.testing.assert_array_equal(np.asarray(picture), image[:, :, 0])
  grid, walk = draw('deep/grid.png', '--num_samples=100'), draw('walk.png', '--interpolate')
  assert grid.read_bytes() == (trained / 'samples' / f'grid_{STEPS:08d}.png').read_bytes()
  assert walk.read_bytes() == (trained / 'samples' / f'interpolation_{STEPS:08d}.png').read_bytes()
  assert not list(tmp_path.rglob('.*'))


def test_an_evaluation_has_references_and_a_protocol(scripts, trained, env):
  ended = scripts('evaluate', f'--run={trained}', '--checkpoint=best')
  assert (ended.code, ended.err) == (0, '')
  for words in ('k-means', 'training images', 'uniform noise', 'averaged weights', 'Frechet'):
    assert words in ended.out
  (path,) = trained.glob('evaluation*.json')
  result = json.loads(path.read_text())
  compared = scripts('compare', f'--runs={trained},{path}')
  assert (compared.code, compared.err) == (0, '')
  assert f'{result["features"]["ema"]["frechet"]:.4g}' in compared.out
  path.unlink()
  references = {name: score['mean'] for name, score in result['references'].items()}
  assert references['noise'] < references['marginals'] < references['mean'] < references['real']
  assert references['noise'] < result['parzen']['ema']['mean'] < references['real']
  assert result['checkpoint'] in (500, 1000)
  assert result['protocol']['n_samples'] == 10_000
  features = result['features']
  assert features['fresh']['frechet'] < features['ema']['frechet']
  assert features['train']['copying'] < -3 < features['fresh']['copying']
  assert features['train']['authentic'] == 0 < features['fresh']['authentic']
  few = data.load_dataset(commands.DATASET, env['GAN_JAX_DATA_DIR'])
  assert result['protocol']['fingerprint'] == few.fingerprint
  assert sum(result['class_shares']) == pytest.approx(1)


def test_synthetic_data_are_trained_evaluated_and_sampled_without_a_data_folder(
  scripts, env, tmp_path
):
  run = tmp_path / 'run'
  flags = ('--dataset=ring', '--network=relu', '--g_width=16', '--d_width=16', '--latent_size=2')
  steps = ('--batch_size=32', '--steps=40', '--k=auto', '--data_dir=/nowhere')
  ended = scripts('train', *flags, *steps, f'--run={run}')
  assert (ended.code, commands.error_lines(ended)) == (0, [])
  assert (run / 'samples' / 'points_00000040.png').exists()
  assert 'gain' in commands.records(run)[0]
  ended = scripts('evaluate', f'--run={run}')
  assert (ended.code, ended.err) == (0, '')
  result = json.loads((run / 'evaluation_test_00000040.json').read_text())
  assert set(result['oracle']) == {'raw', 'ema'}
  assert result['truth']['modes'] == result['ideal']['modes'] == 8
  assert 'expected' in ended.out
  sample = ('sample', f'--run={run}', '--num_samples=5')
  ended = scripts(*sample, f'--output={tmp_path / "x.npz"}')
  assert (ended.code, ended.err) == (0, '')
  with np.load(tmp_path / 'x.npz') as arrays:
    assert (arrays['images'].shape, arrays['images'].dtype) == ((5, 2), np.float32)
  commands.assert_mistake(scripts(*sample, f'--output={tmp_path / "x.png"}'), 'x.png', '.npz')


# Signals


def test_a_run_stopped_twice_ends_like_an_uninterrupted_one(scripts, trained, env, tmp_path):
  run = tmp_path / 'run'
  command = ('train', *RUN, f'--run={run}')
  process = commands.start(*command, env=env)
  commands.wait_for_step(run, 1, process)
  process.send_signal(signal.SIGSTOP)  # cannot end before the second process starts
  second_process = scripts(*command)
  commands.assert_mistake(second_process, f'--run={run}', 'another process is training this run')
  first = stop(process, signal.SIGTERM, run, 143)
  process = commands.start(*command, env=env)
  commands.wait_for_step(run, STEPS // 2 + 100, process)
  second = stop(process, signal.SIGINT, run, 130)
  assert 0 < first < second < STEPS
  ended = scripts(*command)
  assert ended.code == 0
  assert f'going on from step {second}' in ended.err
  commands.assert_same_run(run, trained)


def stop(process, number, run, code):
  """Sends a signal, checks the output and the checkpoint, and returns the step at which the run stopped."""
  process.send_signal(number)
  process.send_signal(signal.SIGCONT)
  ended = commands.finish(process)
  assert ended.code == code, ended
  assert 'Traceback' not in ended.err
  name = signal.Signals(number).name
  match = re.match(rf'stopped by {name} and saved at step (\d+); go on with:\n', ended.out)
  assert f'python -m experiments.train {" ".join(RUN)} --run={run}' in ended.out
  step = int(match[1])
  assert int(commands.load_state(run, step).step) == step
  return step


# Divergence


@pytest.mark.parametrize('lr', [30, 100])  # D diverges at once, and after a checkpoint
def test_divergence_names_tensor_step_and_last_good_checkpoint(lr, scripts, tmp_path):
  flags = (f'--d_lr={lr}', '--d_optimizer=sgd', '--checkpoint_every=1', '--log_every=1')
  run = tmp_path / 'run'
  ended = scripts('train', *TINY, *flags, '--steps=50', f'--run={run}')
  assert ended.code == 3
  (line,) = [line for line in ended.err.splitlines() if not line.startswith('step ')]
  match = re.match(
    r'error: not finite: (\w+(?:/\w+)*) at step (\d+); the last good checkpoint is step (\d+) ',
    line,
  )
  assert match, line
  broken, good = int(match[2]), int(match[3])
  assert good < broken
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(commands.load_state(run, good)))


def test_divergence_before_any_checkpoint_is_reported(scripts, tmp_path):
  ended = scripts(
    'train', *TINY, '--d_lr=1e38', '--d_optimizer=sgd', '--steps=50', f'--run={tmp_path / "run"}'
  )
  assert ended.code == 3
  assert re.fullmatch(
    r'error: not finite: \S+ at step [12]; no checkpoint was made before .*\n', ended.err
  )
