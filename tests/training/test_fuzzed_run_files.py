"""Fuzzes config.json, metrics.jsonl and checksums.json: one line of error, or a run that can be used."""

import contextlib
import dataclasses
import functools
import pickle
import random
import resource
import shutil
import signal

import pytest

from gan_jax.diagnosis import alarms, training_monitors
from gan_jax.training import (
  checkpoint_integrity,
  load_run,
  metric_writers,
  report,
  run_description,
  run_directory,
)
from gan_jax.utils.errors import UserError
from tests.helpers import small_runs
from tests.helpers.mutations import mutate

# A read of a checkpoint that fails leaves reads beside it that nobody awaits; scripts say nothing of them.
pytestmark = [
  pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),
  pytest.mark.filterwarnings('ignore:coroutine .* was never awaited:RuntimeWarning'),
]
CONFIG = dataclasses.replace(
  small_runs.RING, steps=10, eval_every=5, checkpoint_every=5, log_every=1, referee_every=2
)
FAST, MANY = 200, 2000
SECONDS = 60  # that the work on one file may take
MEMORY = 2**30  # bytes by which all of them may raise the peak


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  folder = tmp_path_factory.mktemp('fuzzed') / 'run'
  with pytest.MonkeyPatch.context() as patched:
    small_runs.disable_figures(patched)
    small_runs.run(folder, CONFIG)
  return folder


@pytest.fixture(scope='module')
def copy(trained, tmp_path_factory):
  return shutil.copytree(trained, tmp_path_factory.mktemp('copy') / 'run')


@pytest.fixture(autouse=True)
def watched(monkeypatch, trained):
  """Forbids pickles and files outside of the run, and bounds time and memory."""

  def refuse(*args, **options):
    raise AssertionError('a pickle was read')

  for name in ('load', 'loads', 'Unpickler'):
    monkeypatch.setattr(pickle, name, refuse)
  digest = checkpoint_integrity._digest

  def digest_inside(path):
    assert '/run/checkpoints/' in str(path.resolve()), path
    return digest(path)

  monkeypatch.setattr(checkpoint_integrity, '_digest', digest_inside)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  yield
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  assert grown * 1024 < MEMORY


@contextlib.contextmanager
def in_time(what):
  def stop(number, frame):
    raise AssertionError(f'no end after {SECONDS} s: {what}')

  before = signal.signal(signal.SIGALRM, stop)
  signal.alarm(SECONDS)
  try:
    yield
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def fuzz(trained, copy, name, seed, use):
  """Writes a damaged file, calls `use`, and restores the file; returns whether it was refused."""
  content = mutate((trained / name).read_bytes(), random.Random(seed))
  (copy / name).write_bytes(content)
  line = ''
  try:
    with in_time(content):
      use(copy)
  except UserError as error:
    line = str(error)
  except Exception as error:
    raise AssertionError(f'seed {seed}: {error!r}\n{content[:4000]!r}') from error
  finally:
    shutil.copy(trained / name, copy / name)
  assert '\n' not in line
  assert len(line) < 2000
  return bool(line)


def describe_and_load(folder, load=True):
  description = run_description.read_description(folder)
  with contextlib.suppress(UserError):
    run_directory.check_resumable(folder, CONFIG)
  run_directory.read_fork(folder)
  if load:
    load_run.load_run(folder, 'last')
  return description


def use_metrics(folder):
  path = folder / 'metrics.jsonl'
  records = metric_writers.read_metrics(path)
  metric_writers.read_scores(path)
  monitored = [r for r in records if 'watch_gap' in r]
  alarms.new_alarms(monitored)
  training_monitors.monitor_history_from_records(records)
  metric_writers.MetricWriter(folder, 7).close()
  for events in folder.glob('events.*'):
    events.unlink()


def use_checksums(folder):
  for step in (5, 10):
    checkpoint_integrity.find_damage(folder, step)
  lines = checkpoint_integrity.quarantine_damaged(folder)
  checkpoint_integrity.record_checksums(folder)
  for aside in (folder / 'damaged').glob('*'):
    aside.rename(folder / 'checkpoints' / aside.name)
  assert sorted(checkpoint_integrity.complete_steps(folder)) == [5, 10], lines


USES = {
  'config.json': describe_and_load,
  'metrics.jsonl': use_metrics,
  'checksums.json': use_checksums,
}


@pytest.mark.parametrize('name', USES)
def test_a_fuzzed_file_gives_one_line_or_a_run(name, trained, copy):
  """Each fifth config.json that is accepted is loaded, as this takes most of the time."""
  refused = 0
  for seed in range(FAST):
    use = functools.partial(describe_and_load, load=seed % 5 == 0)
    refused += fuzz(trained, copy, name, seed, use if name == 'config.json' else USES[name])
  assert (refused > FAST / 2) == (name == 'config.json')  # the others are passed over


@pytest.mark.parametrize('name', ['config.json', 'metrics.jsonl'])
def test_the_page_of_a_run_is_written_whatever_a_file_holds(name, trained, copy):
  for seed in range(5):
    assert not fuzz(trained, copy, name, 10_000 + seed, report.write_run_page)


@pytest.mark.slow
@pytest.mark.parametrize('name', USES)
def test_many_fuzzed_files_give_one_line_or_a_run(name, trained, copy):
  for seed in range(MANY):
    fuzz(trained, copy, name, 100_000 + seed, USES[name])


@pytest.mark.slow
@pytest.mark.parametrize('name', ['config.json', 'metrics.jsonl'])
def test_the_page_of_many_damaged_runs_is_written(name, trained, copy):
  for seed in range(200):
    assert not fuzz(trained, copy, name, 200_000 + seed, report.write_run_page)
