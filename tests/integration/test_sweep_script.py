import csv
import json
import time

import jax
import numpy as np
import pytest

from tests.helpers import commands

SMALL_RING = (
  *('--dataset=ring', '--network=relu', '--g_width=8', '--d_width=8', '--latent=normal'),
  *('--latent_size=2', '--batch_size=16', '--r1=0.1', '--steps=20', '--log_every=10'),
  *('--eval_every=10', '--checkpoint_every=10', '--devices=2', '--referee_every=0'),
)
LONGER = ('--steps=60',)
SWEEP = ('--sweep=k=0.5,1,2', '--seeds=2')


@pytest.fixture(scope='module')
def swept(scripts, tmp_path_factory):
  folder = tmp_path_factory.mktemp('swept') / 'sweep'
  return folder, scripts('sweep', *SMALL_RING, *SWEEP, f'--run={folder}', timeout=400)


def rows(folder):
  with (folder / 'results.csv').open() as file:
    return list(csv.DictReader(file))


def test_a_sweep_writes_tables_plots_and_samples(swept):
  folder, ended = swept
  assert ended.code == 0, ended.err
  assert 'at most 12 runs' in ended.out
  table = rows(folder)
  assert len(table) == 12
  assert {row['compared_at_equal'] for row in table} == {'updates of G', 'gradients'}
  assert {row['k'] for row in table} == {'0.5', '1', '2'}
  assert {row['status'] for row in table} == {'finished'}
  for name in ('summary.md', 'results.parquet', 'k.png', 'samples/updates_best'):
    assert (folder / name).exists()
  text = (folder / 'summary.md').read_text()
  assert '## At equal updates of G' in text
  assert '## At equal gradients' in text


def test_all_settings_cost_the_same_at_an_equal_budget(swept):
  cost = [
    float(row['gradients']) for row in rows(swept[0]) if row['compared_at_equal'] == 'gradients'
  ]
  assert max(cost) - min(cost) <= 3


def test_a_member_is_a_run_that_other_scripts_open(swept, scripts):
  run = next((swept[0] / 'updates' / 'members').iterdir())
  ended = scripts('evaluate', f'--run={run}')
  assert ended.code == 0, ended.err
  assert 'cell_kl' in ended.out


def test_repeating_the_command_trains_nothing(swept, scripts):
  folder, _ = swept
  before = rows(folder)
  ended = scripts('sweep', *SMALL_RING, *SWEEP, f'--run={folder}', timeout=400)
  assert ended.code == 0, ended.err
  assert rows(folder) == before


@pytest.mark.slow
def test_processes_share_the_groups_of_a_folder_though_one_is_killed(tmp_path):
  """Trains three groups in three processes, of which one is killed."""
  flags = ('--steps=400', '--log_every=20', '--eval_every=200', '--checkpoint_every=40')
  command = ('sweep', *SMALL_RING, *flags, '--sweep=k=1,2,auto', '--seeds=2')
  shared = [commands.start(*command, f'--run={tmp_path / "shared"}') for _ in range(3)]
  started = lambda: [
    x for x in (tmp_path / 'shared').glob('*/waves/*_0/metrics.jsonl') if x.stat().st_size
  ]
  start = time.monotonic()
  while len(started()) < 2:
    assert time.monotonic() - start < 240
    time.sleep(0.2)
  shared[0].kill()
  commands.finish(shared[0])
  for process in shared[1:]:
    ended = commands.finish(process, timeout=400)
    assert ended.code == 0, ended.err
  single = commands.finish(commands.start(*command, f'--run={tmp_path / "single"}'), timeout=400)
  assert single.code == 0, single.err
  rows_without_seconds = lambda folder: [
    {name: x for name, x in row.items() if name not in ('seconds', 'run')} for row in rows(folder)
  ]
  assert rows_without_seconds(tmp_path / 'shared') == rows_without_seconds(tmp_path / 'single')
  assert len(rows_without_seconds(tmp_path / 'single')) == 12


def test_another_sweep_in_the_same_folder_raises(swept, scripts):
  ended = scripts('sweep', *SMALL_RING, '--sweep=k=1,2', '--seeds=2', f'--run={swept[0]}')
  assert ended.code == 2
  assert 'holds another sweep' in ended.err


def test_workers_of_a_store_write_one_table(scripts, tmp_path):
  store = f'--store=journal:{tmp_path / "store.log"}'
  args = (*SMALL_RING, '--sweep=k=1', '--sweep=g_lr=1e-4,1e-3', '--seeds=2', store)
  for name in ('a', 'b'):  # when the second starts all trials are finished
    ended = scripts('sweep', *args, f'--run={tmp_path / name}', timeout=400)
    assert ended.code == 0, ended.err
  one, other = rows(tmp_path / 'a'), rows(tmp_path / 'b')
  assert one == other
  assert len(one) == 4
  ended = scripts('sweep', *SMALL_RING, '--sweep=k=2', store, f'--run={tmp_path / "c"}')
  assert ended.code == 2
  assert 'of another sweep' in ended.err


@pytest.fixture(scope='module')
def seeds(scripts, tmp_path_factory):
  """Sweeps two seeds of one setting; best checkpoints may be earlier than the last."""
  folder = tmp_path_factory.mktemp('seeds') / 'sweep'
  return folder, scripts('sweep', *SMALL_RING, *LONGER, '--seeds=2', f'--run={folder}', timeout=400)


def test_without_axes_a_sweep_prints_mean_and_range_of_last_and_best_test_scores(seeds):
  folder, ended = seeds
  assert ended.code == 0, ended.err
  values = json.loads((folder / 'summary.json').read_text())['values']['covariance_ratio']
  assert set(values) == {'last raw', 'last ema', 'best raw', 'best ema'}
  assert len(set(values['last ema'])) == 2  # each seed is another run
  for name in values:
    mean = f'{np.mean(values[name]):.4g} +- {np.std(values[name], ddof=1):.2g}'
    assert mean in ended.out
  assert (folder / 'summary.md').read_text() in ended.out
  assert len(rows(folder)) == 2


@pytest.mark.parametrize('checkpoint', ['last', 'best'])
def test_a_seed_without_axes_is_the_run_of_the_train_script(checkpoint, seeds, scripts, tmp_path):
  ended = scripts('train', *SMALL_RING, *LONGER, '--devices=1', '--seed=1', f'--run={tmp_path}')
  assert ended.code == 0, ended.err
  member = seeds[0] / 'updates' / 'members' / 'preset-seed_1'
  assert commands.records(member) == commands.records(tmp_path)
  one, other = (commands.load_state(folder, checkpoint) for folder in (member, tmp_path))
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_without_axes_a_seed_that_diverges_is_named(scripts, tmp_path):
  broken = ('--d_lr=1e38', '--d_optimizer=sgd', '--r1=0', '--seeds=1')
  ended = scripts('sweep', *SMALL_RING, *broken, f'--run={tmp_path / "sweep"}')
  assert ended.code == 0, ended.err
  assert 'seed 0 diverged' in (tmp_path / 'sweep' / 'summary.md').read_text()


@pytest.mark.parametrize(
  ('args', 'fragment'),
  [
    (('--sweep=kk=1',), 'no flag --kk'),
    (('--sweep=seed=1,2',), 'give --seeds=N instead'),
    (('--sweep=k=',), 'the range is empty'),
    (('--sweep=g_lr=log(0,1,3)',), 'cannot reach 0'),
    (('--sweep=k=1,2', '--sweep=k=3'), 'given twice'),
    (('--sweep=k=0.001',), '1/64'),
    (('--sweep=k=1,2', '--seeds=200'), 'add --yes'),
    (('--sweep=k=1', '--seeds=0'), '--seeds=0'),
    (('--seeds=0',), '--seeds=0'),
    (('--sweep=k=1', '--halving=1'), '--halving=1'),
    (('--sweep=k=1', '--devices=-1'), '--devices=-1'),
    (('--sweep=k=1', '--store=redis://x'), 'journal:FILE or postgresql'),
    (('--sweep=k=1', '--store=postgresql://me@127.0.0.1:1/x', '--patience=1'), 'out of reach'),
    (('--sweep=k=1', '--store=journal:x', '--sampler=tpe', '--trials=0'), '--trials=0'),
    (('--sweep=k=1,2', '--stop_on=collapse', '--referee_every=10'), '--stop_on'),
    (('--k=auto', '--sweep=r1=0.1,1'), '--compute=none'),
    (('--sweep=d_norm=spectral,no_such',), 'no_such'),
    (('--sweep=update=simultaneous,alternating', '--k=2'), '--k=2'),
  ],
)
def test_mistakes_are_one_line_and_exit_code_2(args, fragment, scripts, tmp_path):
  ended = scripts('sweep', *SMALL_RING, *args, f'--run={tmp_path / "new"}')
  assert ended.code == 2, ended
  (line,) = commands.error_lines(ended)
  assert line.startswith('error: ')
  assert fragment in line


def test_a_setting_that_cannot_work_is_refused_before_another_is_trained(scripts, tmp_path):
  folder = tmp_path / 'new'
  commands.assert_mistake(
    scripts(
      'sweep', f'--dataset={commands.DATASET}', '--network=r3gan', '--steps=2',
      '--seeds=1', '--sweep=g_width=8,12', f'--run={folder}',
    ),
    'g_width=12: --g_width=12: r3gan has groups of 16 channels', '--g_width=16',
  )  # fmt: skip
  assert not folder.exists()


def test_the_address_of_a_bucket_is_refused(scripts, tmp_path):
  ended = scripts('sweep', *SMALL_RING, '--run=gs://bucket/sweep', cwd=tmp_path)
  commands.assert_mistake(ended, '--run=gs://bucket/sweep: ', 'mount the bucket')
  assert not list(tmp_path.iterdir())


def test_a_folder_without_a_sweep_raises(scripts, tmp_path):
  (tmp_path / 'file').touch()
  ended = scripts('sweep', *SMALL_RING, '--sweep=k=1', f'--run={tmp_path}')
  assert ended.code == 2
  assert 'holds no sweep' in ended.err


def test_json_and_parquet_can_be_read_by_other_programs(swept):
  description = json.loads((swept[0] / 'sweep.json').read_text())
  assert description['sweep'] == ['k=0.5,1,2']
  assert description['flags']['dataset'] == 'ring'
  from pyarrow import parquet

  assert parquet.read_table(swept[0] / 'results.parquet').num_rows == 12
