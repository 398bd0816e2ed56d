"""Tests error lines for damaged run folders, full disks and other limits of the system."""

import errno
import json
import os
import re
import shutil
import subprocess

import pytest
from tensorboardX.event_file_writer import EventsWriter

from experiments import command_line
from gan_jax.training import metric_writers
from tests.helpers import commands
from tests.helpers.commands import RUN, STEPS, TINY


@pytest.fixture
def copy(trained, tmp_path):
  return shutil.copytree(trained, tmp_path / 'run')


def change_flags(run, **flags):
  """Changes flags in a run's config.json; None removes a flag."""
  path = run / 'config.json'
  description = json.loads(path.read_text())
  changed = description['flags'] | flags
  description['flags'] = {name: value for name, value in changed.items() if value is not None}
  path.write_text(json.dumps(description))


def test_a_damaged_description_is_named(scripts, copy, tmp_path):
  output = f'--output={tmp_path / "x.png"}'
  for text in ('', '{"flags": {', '[]', '{"flags": {}, "shape": [], "n_classes": 10}'):
    (copy / 'config.json').write_text(text)
    commands.assert_mistake(
      scripts('train', *RUN, f'--run={copy}'), str(copy), 'config.json is damaged'
    )
    commands.assert_mistake(
      scripts('sample', f'--run={copy}', output), str(copy), 'config.json is damaged'
    )


def test_the_description_of_a_newer_version_is_refused_by_name(scripts, copy, tmp_path):
  sample = ('sample', f'--run={copy}', f'--output={tmp_path / "x.png"}')
  for script in (sample, ('train', *RUN, f'--run={copy}')):
    change_flags(copy, zeta=1)
    commands.assert_mistake(scripts(*script), str(copy), '--zeta', 'gan-jax 0.1.0')
  change_flags(copy, zeta=None, g_width='wide')
  commands.assert_mistake(scripts(*sample), str(copy), 'config.json', '--g_width is no int')


def test_the_description_of_an_older_version_opens_with_defaults(scripts, copy, tmp_path):
  change_flags(copy, r1=None, keep=None)
  for script in (
    ('sample', f'--run={copy}', f'--output={tmp_path / "x.png"}'),
    ('train', *RUN, f'--run={copy}'),
  ):
    ended = scripts(*script)
    assert ended.code == 0, ended.err
    (line,) = commands.error_lines(ended)
    assert line == (
      f'note: {copy}: config.json is of an older version; by default --r1=1.0, --keep=3'
    )
  commands.assert_mistake(
    scripts('train', *RUN, '--r1=2', f'--run={copy}'), str(copy), '--r1 is 1.0, now 2.0'
  )


def test_sampling_without_a_checkpoint_raises(scripts, copy, tmp_path):
  sample = ('sample', f'--run={copy}', f'--output={tmp_path / "x.png"}')
  shutil.rmtree(copy / 'checkpoints' / '00000500')
  shutil.rmtree(copy / 'checkpoints' / '00001000')
  commands.assert_mistake(scripts(*sample, '--checkpoint=best'), '--checkpoint=best')
  shutil.rmtree(copy / 'checkpoints')
  commands.assert_mistake(scripts(*sample), f'--run={copy}', 'no checkpoint')


def test_a_truncated_checkpoint_is_named_and_training_resumes_without_it(scripts, trained, copy):
  step = commands.newest_checkpoint(copy)
  largest = max(
    (path for path in step.rglob('*') if path.is_file()), key=lambda p: p.stat().st_size
  )
  os.truncate(largest, largest.stat().st_size // 2)
  output = f'--output={copy.parent / "x.png"}'
  for _ in range(2):  # reads fail in a random order
    commands.assert_mistake(scripts('sample', f'--run={copy}', output), str(step), 'damaged')
  ended = scripts('train', *RUN, f'--run={copy}')
  assert ended.code == 0
  assert f'{step}: this checkpoint is damaged' in ended.err
  assert 'going on from step' in ended.err
  commands.assert_same_run(copy, trained)


def test_a_checkpoint_of_another_model_is_named(scripts, copy, tmp_path):
  change_flags(copy, g_width=48)
  step, more = str(commands.newest_checkpoint(copy)), f'--steps={STEPS + 1}'
  sample = ('sample', f'--run={copy}', f'--output={tmp_path / "x.png"}')
  commands.assert_mistake(scripts(*sample), step, 'another model')
  for _ in range(2):
    commands.assert_mistake(scripts('train', *RUN, more, '--g_width=48', f'--run={copy}'), step)
  change_flags(copy, g_width=32, d_optimizer='sgd')
  commands.assert_mistake(scripts(*sample), step, 'another model')


# A full disk


@pytest.fixture(scope='module')
def small_disk(tmp_path_factory):
  """Returns a mount point, and a function from kB to a command prefix that mounts a disk of that size."""
  mount = tmp_path_factory.mktemp('disk')

  def prefix(size):
    script = f'mount -t tmpfs -o size={size}k tmpfs {mount} && exec "$@"'
    return ['unshare', '--map-root-user', '--mount', 'sh', '-c', script, 'sh']

  try:
    subprocess.run([*prefix(100), 'true'], check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    pytest.skip('cannot mount a file system')
  return mount, prefix


def test_a_full_disk_gives_one_line_and_the_same_command_resumes(small_disk, env):
  mount, prefix = small_disk
  run = ('train', *TINY, '--steps=3', '--checkpoint_every=1', f'--run={mount}/run')
  twice = f'"$@"; echo "code $?"; mount -o remount,size=50000k {mount}; "$@"'
  process = commands.start(*run, env=env, prefix=[*prefix(1100), 'sh', '-c', twice, 'sh'])
  ended = commands.finish(process)
  assert ended.out.startswith('code 2\nfinished: 3 steps'), ended
  (error,) = commands.error_lines(ended)
  assert error.startswith('error: the disk is full')
  assert 'going on from step 1' in ended.err  # the second checkpoint did not fit


def test_sampling_to_a_full_disk_gives_one_line(small_disk, trained, env):
  mount, prefix = small_disk
  sample = ('sample', f'--run={trained}', '--num_samples=1000')
  processes = [
    commands.start(*sample, f'--output={mount}/{name}', env=env, prefix=prefix(size))
    for name, size in (('x.npz', 100), ('folder', 1000))
  ]
  for process in processes:
    commands.assert_mistake(commands.finish(process), 'the disk is full')


LIMITS = [
  (OSError(errno.ENOSPC, 'No space left on device', 'x'), 'the disk is full (x)'),
  (ValueError('RESOURCE_EXHAUSTED: ... No space left on device'), 'the disk is full'),
  (OSError(errno.EROFS, 'Read-only file system', 'x'), 'x: read-only file system'),
  (RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating'), 'out of device memory'),
]


def fail(error, wrapped):
  with command_line._one_line_errors():
    if not wrapped:
      raise error
    try:  # as Orbax wraps errors of its threads
      raise error
    except Exception as cause:
      raise RuntimeError('a checkpoint failed') from cause


def test_an_event_file_that_cannot_be_written_stops_a_run(tmp_path, monkeypatch):
  metrics = metric_writers.MetricWriter(tmp_path, 0)

  def refuse(self, event):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(EventsWriter, 'write_event', refuse)
  with pytest.raises(OSError, match='No space left'):
    metrics.write(1, {'d_loss': 1.0})
  metrics.close()


@pytest.mark.parametrize('wrapped', [False, True])
@pytest.mark.parametrize(('error', 'words'), LIMITS)
def test_system_limits_give_one_line(error, words, wrapped, capsys):
  with pytest.raises(SystemExit) as ended:
    fail(error, wrapped)
  assert ended.value.code == 2
  assert re.fullmatch(f'error: {re.escape(words)}.*\n', capsys.readouterr().err)


def test_a_bug_keeps_its_traceback():
  with pytest.raises(ZeroDivisionError):
    fail(ZeroDivisionError(), wrapped=False)
