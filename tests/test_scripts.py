import errno
import json
import os
import re
import shutil
import signal
import subprocess

import jax
import numpy as np
import pytest
from PIL import Image
from tensorboardX.event_file_writer import EventsWriter

from experiments import launcher
from gan_jax import data, logs
from tests import commands
from tests.commands import TINY

STEPS = 1000
RUN = (*TINY, f'--steps={STEPS}', '--log_every=100', '--eval_every=500', '--checkpoint_every=250')
PROGRESS = ('step ', 'going on from step ')
SCRIPTS = ('train', 'sample', 'evaluate', 'prepare_data')


@pytest.fixture(scope='module')
def env(tmp_path_factory, pytestconfig, mnist):
  """The environment of every process here: few images, and programs compiled by an earlier session."""
  data_dir = tmp_path_factory.mktemp('data')
  commands.write_few_digits(data_dir, mnist)
  cache = pytestconfig.cache.mkdir('scripts')
  return os.environ | {
    'GAN_JAX_DATA_DIR': str(data_dir),
    'XDG_CACHE_HOME': str(cache),
    'JAX_PLATFORMS': 'cpu',
  }


@pytest.fixture(scope='module')
def scripts(env, tmp_path_factory):
  running = commands.Scripts(tmp_path_factory.mktemp('streams'), env)
  yield running
  running.close()


@pytest.fixture(scope='module')
def trained(env, tmp_path_factory):
  """A run that nothing disturbed; tests that change it take a copy."""
  folder = tmp_path_factory.mktemp('trained') / 'run'
  ended = commands.finish(commands.start('train', *RUN, f'--run={folder}', env=env))
  assert ended.code == 0, ended.err
  assert 'finished: 1000 steps' in ended.out
  return folder


@pytest.fixture
def copy(trained, tmp_path):
  return shutil.copytree(trained, tmp_path / 'run')


def newest(run):
  return max(path for path in (run / 'checkpoints').iterdir() if path.name.isdecimal())


def edit(run, **flags):
  """Change flags in a run's description; None removes one."""
  path = run / 'config.json'
  description = json.loads(path.read_text())
  changed = description['flags'] | flags
  description['flags'] = {name: value for name, value in changed.items() if value is not None}
  path.write_text(json.dumps(description))


def assert_mistake(ended, *fragments):
  """Exit code 2, and nothing on stderr but progress and one line that says what is wrong."""
  assert 'Traceback' not in ended.err
  assert ended.code == 2, ended
  (line,) = [line for line in ended.err.splitlines() if not line.startswith(PROGRESS)]
  assert line.startswith('error: ')
  for fragment in fragments:
    assert fragment in line
  assert ended.out == ''


# Mistakes


# A command, and what the line names; the last flag itself where nothing is given.
MISTAKES = [
  ('train --k=0',),
  ('train --k=-1',),
  ('train --update=simultaneous --k=2',),
  ('train --k=1.5',),
  ('train --g_lr=-0.1',),
  ('train --d_lr=0', '--d_lr=0.0'),
  ('train --g_lr=nan',),
  ('train --d_lr=inf',),
  ('train --dataset=nope --run={tmp}/run', '--dataset=nope'),
  ('train --dataset=../nope --run={tmp}/run', '--dataset=../nope'),
  ('train --loss=nope',),
  ('train --flagfile=nope', '--flagfile', "'nope'", 'presets/mnist.flags'),
  ('train --nope=3', "'nope'"),
  ('train --steps=many',),
  ('train --d_dropout=perhaps',),
  ('train --batch_size=0',),
  ('train {tiny} --run={tmp}/run --batch_size=2001', '--batch_size=2001', '2000'),
  ('train {tiny} --run={tmp}/run --devices=4 --batch_size=6', '--batch_size=6', '--batch_size=8'),
  ('train {tiny} --run={tmp}/run --devices=-1',),
  ('train --steps=0',),
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
  ('sample --output={tmp}/x.png', '--run'),
  ('sample --run={done}', '--output'),
  ('sample --output={tmp}/x.png --run={other}',),
  ('sample --run={done} --output={tmp}/x.png --num_samples=0',),
  ('sample --run={done} --output={tmp}/x.npz --num_samples=1000000000000',),
  ('sample --run={done} --output={tmp}/x.png --num_samples=10001',),
  ('sample --run={done} --output={tmp}/x.jpg',),
  ('sample --run={done} --interpolate --output={tmp}/x.npz',),
  ('sample --run={done} --output={tmp}/x.png --checkpoint=9999',),
  ('sample --run={done} --output=/dev/null/x.png', '/dev/null'),
  ('sample --run={done} --output=/proc/x.png', '/proc/x.png'),
  ('sample --run={done} --output=/proc/x.npz', 'x.npz'),
  ('sample --run={done} --output=/proc/none/x', '/proc/none'),
  ('prepare_data --dataset=nope',),
  ('prepare_data --data_dir=/dev/null/x',),
]


@pytest.mark.parametrize('case', MISTAKES, ids=lambda case: case[0])
def test_a_mistake_is_one_line_that_names_it(case, scripts, trained, tmp_path):
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'thesis.tex').touch()
  (tmp_path / 'file').touch()
  places = {
    'tmp': tmp_path,
    'other': tmp_path / 'other',
    'file': tmp_path / 'file',
    'done': trained,
    'tiny': ' '.join(TINY),
  }
  script, *args = case[0].format(**places).split()
  fragments = [fragment.format(**places) for fragment in case[1:]] or args[-1:]
  assert_mistake(scripts(script, *args, cwd=tmp_path), *fragments)


def test_processes_of_their_own_say_the_same(scripts, trained, env, tmp_path):
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


def test_settings_that_go_wrong_only_later_leave_a_folder_to_try_again_in(scripts, tmp_path):
  run = f'--run={tmp_path / "run"}'
  for batch_size in ('--batch_size=2001', '--batch_size=2002'):
    assert_mistake(scripts('train', *TINY, batch_size, run), batch_size)


# A run's folder that came to harm


def test_a_damaged_description_is_named(scripts, copy, tmp_path):
  output = f'--output={tmp_path / "x.png"}'
  for text in ('', '{"flags": {', '[]', '{"flags": 3, "image_shape": [28, 28, 1]}'):
    (copy / 'config.json').write_text(text)
    assert_mistake(scripts('train', *RUN, f'--run={copy}'), str(copy), 'config.json is damaged')
    assert_mistake(scripts('sample', f'--run={copy}', output), str(copy), 'config.json is damaged')


def test_the_description_of_another_version_is_named(scripts, copy, tmp_path):
  sample = ('sample', f'--run={copy}', f'--output={tmp_path / "x.png"}')
  edit(copy, zeta=1)
  assert_mistake(scripts(*sample), str(copy), 'zeta')
  edit(copy, zeta=None, r1=None)
  assert_mistake(scripts(*sample), str(copy), 'r1')
  assert_mistake(scripts('train', *RUN, f'--run={copy}'), str(copy), '--r1 is None, now 1.0')
  edit(copy, r1=1.0, g_width='wide')
  assert_mistake(scripts(*sample), str(copy), 'config.json')


def test_without_a_good_checkpoint_sampling_says_so(scripts, copy, tmp_path):
  sample = ('sample', f'--run={copy}', f'--output={tmp_path / "x.png"}')
  shutil.rmtree(copy / 'checkpoints' / '00000500')
  shutil.rmtree(copy / 'checkpoints' / '00001000')
  assert_mistake(scripts(*sample, '--checkpoint=best'), '--checkpoint=best')
  shutil.rmtree(copy / 'checkpoints')
  assert_mistake(scripts(*sample), f'--run={copy}', 'no checkpoint')


def test_a_truncated_checkpoint_is_named_and_training_goes_on_without_it(scripts, trained, copy):
  step = newest(copy)
  largest = max(
    (path for path in step.rglob('*') if path.is_file()), key=lambda p: p.stat().st_size
  )
  os.truncate(largest, largest.stat().st_size // 2)
  output = f'--output={copy.parent / "x.png"}'
  for _ in range(2):  # its reads fail in an order of their own
    assert_mistake(scripts('sample', f'--run={copy}', output), str(step), 'damaged')
  more = f'--steps={STEPS + 1}'
  assert_mistake(scripts('train', *RUN, more, f'--run={copy}'), str(step), 'delete that folder')
  shutil.rmtree(step)
  assert scripts('train', *RUN, f'--run={copy}').code == 0
  assert_same_run(copy, trained)


def test_a_checkpoint_of_another_model_is_named(scripts, copy, tmp_path):
  edit(copy, g_width=48)
  step, more = str(newest(copy)), f'--steps={STEPS + 1}'
  sample = ('sample', f'--run={copy}', f'--output={tmp_path / "x.png"}')
  assert_mistake(scripts(*sample), step, 'another model')
  for _ in range(2):
    assert_mistake(scripts('train', *RUN, more, '--g_width=48', f'--run={copy}'), step)
  edit(copy, g_width=32, d_optimizer='sgd')
  assert_mistake(scripts(*sample), step, 'another model')


# A full disk


@pytest.fixture(scope='module')
def small_disk(tmp_path_factory):
  """The words before a command that give it a file system of so many kB, gone with it."""
  mount = tmp_path_factory.mktemp('disk')

  def prefix(size):
    script = f'mount -t tmpfs -o size={size}k tmpfs {mount} && exec "$@"'
    return ['unshare', '--map-root-user', '--mount', 'sh', '-c', script, 'sh']

  try:
    subprocess.run([*prefix(100), 'true'], check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    pytest.skip('no file systems may be mounted here')
  return mount, prefix


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(small_disk, env):
  mount, prefix = small_disk
  run = ('train', *TINY, '--steps=3', '--checkpoint_every=1', f'--run={mount}/run')
  twice = f'"$@"; echo "code $?"; mount -o remount,size=50000k {mount}; "$@"'
  process = commands.start(*run, env=env, prefix=[*prefix(1100), 'sh', '-c', twice, 'sh'])
  ended = commands.finish(process)
  assert ended.out.startswith('code 2\nfinished: 3 steps'), ended
  (error,) = [line for line in ended.err.splitlines() if not line.startswith(PROGRESS)]
  assert error.startswith('error: the disk is full')
  assert 'going on from step 1' in ended.err  # the second checkpoint found no room


def test_samples_on_a_full_disk_are_one_line(small_disk, trained, env):
  mount, prefix = small_disk
  sample = ('sample', f'--run={trained}', '--num_samples=1000')
  processes = [
    commands.start(*sample, f'--output={mount}/{name}', env=env, prefix=prefix(size))
    for name, size in (('x.npz', 100), ('folder', 1000))
  ]
  for process in processes:
    assert_mistake(commands.finish(process), 'the disk is full')


LIMITS = [
  (OSError(errno.ENOSPC, 'No space left on device', 'x'), 'the disk is full (x)'),
  (ValueError('RESOURCE_EXHAUSTED: ... No space left on device'), 'the disk is full'),
  (OSError(errno.EROFS, 'Read-only file system', 'x'), 'x: read-only file system'),
  (RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating'), 'out of device memory'),
]


def fail(error, wrapped):
  with launcher._one_line_errors():
    if not wrapped:
      raise error
    try:  # as Orbax does with what failed in its threads
      raise error
    except Exception as cause:
      raise RuntimeError('a checkpoint failed') from cause


def test_a_full_disk_under_the_events_stops_a_run(tmp_path, monkeypatch):
  metrics = logs.Metrics(tmp_path, 0)

  def refuse(self, event):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(EventsWriter, 'write_event', refuse)
  with pytest.raises(OSError, match='No space left'):
    metrics.write(1, {'d_loss': 1.0})
  metrics.close()


@pytest.mark.parametrize('wrapped', [False, True])
@pytest.mark.parametrize(('error', 'words'), LIMITS)
def test_limits_of_the_system_are_one_line(error, words, wrapped, capsys):
  with pytest.raises(SystemExit) as ended:
    fail(error, wrapped)
  assert ended.value.code == 2
  assert re.fullmatch(f'error: {re.escape(words)}.*\n', capsys.readouterr().err)


def test_a_bug_keeps_its_traceback():
  with pytest.raises(ZeroDivisionError):
    fail(ZeroDivisionError(), wrapped=False)


# Help


def test_help_fits_a_screen(scripts):
  for script in SCRIPTS:
    ended = scripts(script, '--help')
    assert (ended.code, ended.err) == (0, '')
    lines = ended.out.splitlines()
    assert 5 < len(lines) <= 50
    assert max(map(len, lines)) <= 100
    assert f'python -m experiments.{script}' in ended.out


def test_help_needs_neither_device_nor_data(env, scripts):
  bare = env | {'JAX_PLATFORMS': 'none', 'GAN_JAX_DATA_DIR': '/nowhere'}
  ended = commands.finish(commands.start('train', '--help', env=bare))
  assert ended == scripts('train', '--help')


# One run, and what can be done with it


def assert_same_run(left, right):
  """Bit for bit, but for what a clock says."""
  jax.tree.map(np.testing.assert_array_equal, commands.state(left), commands.state(right))
  assert commands.records(left) == commands.records(right)
  pictures = sorted(path.name for path in (right / 'samples').iterdir())
  assert sorted(path.name for path in (left / 'samples').iterdir()) == pictures
  for name in pictures:
    assert (left / 'samples' / name).read_bytes() == (right / 'samples' / name).read_bytes()
  assert newest(left).name == newest(right).name


def test_a_run_leaves_what_it_promises(trained):
  description = json.loads((trained / 'config.json').read_text())
  assert description['flags']['g_width'] == 32
  assert description['flags']['dataset'] == commands.DATASET
  (machine,) = description['ran_on']
  assert machine['versions']['jax'] == jax.__version__
  assert machine['commit'] is None or re.match('[0-9a-f]{40}', machine['commit'])
  records = commands.records(trained)
  stops = sorted({1, *range(100, STEPS + 1, 100), *range(250, STEPS + 1, 250)})
  assert [r['step'] for r in records if 'd_loss' in r] == stops
  assert [r['step'] for r in records if 'validation_parzen_ema' in r] == [500, 1000]
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
  left = {path.name for path in trained.iterdir()} - {events.name}
  named = {'config.json', 'metrics.jsonl', 'checkpoints', 'samples', 'curves.png', 'lock'}
  assert left == named


def test_the_same_command_again_says_that_it_is_finished(scripts, trained):
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
  for words in ('k-means', 'training images', 'uniform noise', 'averaged weights', 'protocol: '):
    assert words in ended.out
  (path,) = trained.glob('evaluation*.json')
  result = json.loads(path.read_text())
  path.unlink()
  references = {name: score['mean'] for name, score in result['references'].items()}
  assert references['noise'] < references['marginals'] < references['mean'] < references['real']
  assert references['mean'] < result['parzen']['ema']['mean'] < references['real']
  assert result['protocol']['checkpoint'] in (500, 1000)
  assert result['protocol']['n_samples'] == 10_000
  few = data.load(commands.DATASET, env['GAN_JAX_DATA_DIR'])
  assert result['protocol']['fingerprint'] == few.fingerprint
  assert sum(result['class_shares']) == pytest.approx(1)


# Signals


def test_a_run_stopped_twice_ends_as_an_unbroken_one(scripts, trained, env, tmp_path):
  run = tmp_path / 'run'
  command = ('train', *RUN, f'--run={run}')
  process = commands.start(*command, env=env)
  commands.wait_for_step(run, 1, process)
  process.send_signal(signal.SIGSTOP)  # so that it cannot end before the rival comes
  rival = scripts(*command)
  assert_mistake(rival, f'--run={run}', 'another process is training this run')
  first = stop(process, signal.SIGTERM, run, 0)
  process = commands.start(*command, env=env)
  commands.wait_for_step(run, STEPS // 2 + 100, process)
  second = stop(process, signal.SIGINT, run, 130)
  assert 0 < first < second < STEPS
  ended = scripts(*command)
  assert ended.code == 0
  assert f'going on from step {second}' in ended.err
  assert_same_run(run, trained)


def stop(process, number, run, code):
  """Send a signal, check what the process says and saves, and return the step at which it stopped."""
  process.send_signal(number)
  process.send_signal(signal.SIGCONT)
  ended = commands.finish(process)
  assert ended.code == code, ended
  assert 'Traceback' not in ended.err
  name = signal.Signals(number).name
  match = re.match(rf'stopped by {name} and saved at step (\d+); go on with:\n', ended.out)
  assert f'python -m experiments.train {" ".join(RUN)} --run={run}' in ended.out
  step = int(match[1])
  assert int(commands.state(run, step).step) == step
  return step


# A value that is not finite


@pytest.mark.parametrize('lr', [30, 100])  # D breaks at once, and after the state was saved
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
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(commands.state(run, good)))


def test_divergence_before_any_checkpoint_is_said(scripts, tmp_path):
  ended = scripts(
    'train', *TINY, '--d_lr=1e38', '--d_optimizer=sgd', '--steps=50', f'--run={tmp_path / "run"}'
  )
  assert ended.code == 3
  assert re.fullmatch(
    r'error: not finite: \S+ at step [12]; no checkpoint was made before .*\n', ended.err
  )
