import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from gan_jax.config import gan_factory
from gan_jax.gan import gan as gan_lib
from gan_jax.training import fork_run, load_run, train
from gan_jax.training.fork_run import ForkSource
from gan_jax.utils.errors import UserError
from tests.helpers import small_runs
from tests.helpers.small_runs import RING, SMALL, final_state_and_records, run
from tests.helpers.tiny_gan import assert_trees_equal

COMPILE_OPTIMIZED = True  # compares bits of the programs that users run


@pytest.fixture(autouse=True)
def fast_evaluations(monkeypatch):
  small_runs.use_noise_dataset(monkeypatch)
  small_runs.disable_figures(monkeypatch)


@pytest.fixture(scope='module')
def ring(tmp_path_factory):
  """Trains a run of 25 steps, for the tests that fork it."""
  folder = tmp_path_factory.mktemp('ring') / 'run'
  with pytest.MonkeyPatch.context() as patched:
    small_runs.disable_figures(patched)
    run(folder, RING)
  return folder


def fork(source, folder, checkpoint='last', stream='auto', **changes):
  source = ForkSource(source, checkpoint)
  config = fork_run.fork_config(source, folder, changes)
  return train.train(config, folder, jax.devices()[:1], stream=stream, fork=source)


def transferred(folder, **changes):
  """Returns the source's state, the forked state with these changes, and the lines that name the rest."""
  source = load_run.load_run(folder, 'last')
  config = dataclasses.replace(source.config, **changes)
  model = gan_factory.build_gan(config, source.shape, None)
  initial = gan_lib.init(model, jax.random.key(9), np.zeros((1, *source.shape)))
  return source.state, *fork_run.transfer_state(source.state, initial, source.config, config)


@pytest.mark.parametrize(
  'config',
  [
    RING,
    pytest.param(
      dataclasses.replace(SMALL, k='auto', augment='translation', ada_target=0.01),
      marks=pytest.mark.slow,
    ),
    pytest.param(
      dataclasses.replace(SMALL, k='1.5', conditional=True, r1_every=4), marks=pytest.mark.slow
    ),
  ],
  ids=['synthetic', 'controllers', 'conditional'],
)
def test_an_unchanged_fork_goes_on_like_its_source_bit_for_bit(tmp_path, config):
  run(tmp_path / 'source', config)
  fork(tmp_path / 'source', tmp_path / 'fork', '20', steps=40)
  run(tmp_path / 'source', dataclasses.replace(config, steps=40))
  source, forked = (final_state_and_records(tmp_path / name) for name in ('source', 'fork'))
  assert_trees_equal(forked[0], source[0])
  after = lambda records: [r for r in records if r['step'] > 25 and 'd_loss' in r]
  assert [r['step'] for r in forked[1] if 'd_loss' in r] == [25, 30, 35, 40]
  assert after(forked[1]) == after(source[1])


def test_a_fork_resumes_bit_for_bit_and_needs_its_source_no_more(tmp_path):
  run(tmp_path / 'source', RING)
  for folder, stops in (('whole', (45,)), ('parts', (31, 45))):
    for steps in stops:
      fork(tmp_path / 'source', tmp_path / folder, g_lr=1e-3, steps=steps)
      if folder == 'parts':
        shutil.rmtree(tmp_path / 'source', ignore_errors=True)
  whole, parts = (final_state_and_records(tmp_path / name)[0] for name in ('whole', 'parts'))
  assert_trees_equal(parts, whole)


def test_a_fork_killed_before_its_first_checkpoint_begins_again_from_the_recorded_one(
  tmp_path, ring, monkeypatch
):
  def kill(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patched:
    patched.setattr(fork_run, 'begin_fork', kill)
    with pytest.raises(KeyboardInterrupt):
      fork(ring, tmp_path / 'broken', steps=30)
  run(tmp_path / 'broken', dataclasses.replace(RING, steps=30))  # without naming the source
  fork(ring, tmp_path / 'whole', steps=30)
  broken, whole = (final_state_and_records(tmp_path / name)[0] for name in ('broken', 'whole'))
  assert_trees_equal(broken, whole)


def test_config_json_records_settings_and_source(tmp_path, ring, capsys):
  fork(ring, tmp_path / 'fork', '20', d_lr=1e-3, steps=30)
  description = json.loads((tmp_path / 'fork' / 'config.json').read_text())
  expected = dataclasses.asdict(RING) | {'d_lr': 1e-3, 'steps': 30}
  assert description['flags'] == expected
  record = description['forked_from']
  assert (record['run'], record['step']) == (str(ring.resolve()), 20)
  assert len(record['sha256']) == 64
  assert f'begun from {ring.resolve()} at step 20' in capsys.readouterr().err
  again = fork_run.fork_config(ForkSource(ring, '20'), tmp_path / 'fork', {'d_lr': 1e-3})
  assert dataclasses.asdict(again) == expected


def test_another_rate_k_or_loss_keeps_everything(ring):
  old, new, lines = transferred(
    ring, d_lr=1e-3, k='3', loss='relativistic', r2=1.0, g_b1=0.0, batch_size=16
  )
  assert lines == []
  assert_trees_equal(new, old)
  assert new.step == 25


@pytest.mark.parametrize(
  ('changes', 'line', 'anew'),
  [
    ({'d_width': 32}, 'd: starts anew, --d_width is 32 in place of 16', 'd'),
    ({'g_depth': 3}, 'g: starts anew, --g_depth is 3 in place of the default', 'g'),
    ({'latent_size': 3}, 'g: starts anew, --latent_size is 3 in place of 2', 'g'),
    (
      {'d_optimizer': 'sgd', 'd_b1': 0.0},
      "d's optimizer: starts anew, --d_optimizer is sgd in place of adam",
      '',
    ),
  ],
)
def test_what_does_not_fit_starts_anew_and_is_named(ring, changes, line, anew):
  old, new, lines = transferred(ring, **changes)
  assert lines == [line]
  for name in 'gd':
    kept, player = getattr(old, name), getattr(new, name)
    assert player.count == kept.count == 25
    if name != anew:
      assert_trees_equal(player.params, kept.params)
  if anew != 'g':
    assert_trees_equal(new.g_ema, old.g_ema)
  else:
    assert_trees_equal(new.g_ema.params, new.g.params)


@pytest.mark.slow
def test_controllers_that_come_and_go_are_named(tmp_path):
  config = dataclasses.replace(SMALL, k='auto', augment='translation', ada_target=0.01)
  run(tmp_path / 'source', config)
  old, new, lines = transferred(tmp_path / 'source', k='2', ada_target=0.02)
  assert lines == ['controller of k: ends, since no setting uses it']
  assert_trees_equal(new.controls, {'augment': old.controls['augment']})


@pytest.mark.slow
def test_a_streamed_fork_with_another_k_meets_the_same_minibatches_as_a_resident_one(tmp_path):
  run(tmp_path / 'source', dataclasses.replace(SMALL, k='3'))
  for stream in ('yes', 'no'):
    fork(tmp_path / 'source', tmp_path / stream, stream=stream, k='2', steps=40)
  yes, no = (final_state_and_records(tmp_path / name)[0] for name in ('yes', 'no'))
  assert yes.d.count == 75 + 30
  assert_trees_equal(yes, no)


def damage(folder):
  next(x for x in (folder / 'checkpoints' / '00000025').rglob('d/*') if x.is_file()).write_bytes(
    b'x'
  )


def test_sources_that_cannot_be_used_are_refused_in_one_line(tmp_path, ring):
  def refused(source, *parts, **options):
    with pytest.raises(UserError) as error:
      fork(source, tmp_path / 'fork', **options)
    line = str(error.value)
    assert '\n' not in line
    assert all(part in line for part in parts), line

  refused(tmp_path / 'none', f'--from={tmp_path / "none"}', 'no run')
  refused(ring, '--from_checkpoint=7', '20, 25', checkpoint='7', steps=40)
  refused(ring, '--steps=25', '--steps=50')
  refused(ring, '--dataset=painter', 'are 15,', ' 2;', dataset='painter', steps=40)
  damaged = shutil.copytree(ring, tmp_path / 'damaged')
  damage(damaged)
  refused(damaged, '00000025', 'damaged', steps=40)
  assert not (tmp_path / 'fork' / 'config.json').exists()


def test_a_folder_that_holds_another_run_is_refused(tmp_path, ring):
  run(tmp_path / 'own', dataclasses.replace(RING, steps=5))
  with pytest.raises(UserError, match='begun without it'):
    fork(ring, tmp_path / 'own', steps=40)
  fork(ring, tmp_path / 'fork', steps=27)
  with pytest.raises(UserError, match=r'begun from .* at step 25'):
    fork(ring, tmp_path / 'fork', '20', steps=40)


def test_a_source_that_changed_before_the_first_checkpoint_is_refused(tmp_path, ring, monkeypatch):
  source = shutil.copytree(ring, tmp_path / 'source')
  with monkeypatch.context() as patched:
    patched.setattr(fork_run, 'transfer_state', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      fork(source, tmp_path / 'fork', steps=30)
  shutil.rmtree(source)
  run(source, dataclasses.replace(RING, seed=1))
  with pytest.raises(UserError, match='is another than the one'):
    fork(source, tmp_path / 'fork', steps=30)


def test_fine_tuning_on_other_data_of_equal_shape(tmp_path, ring):
  fork(ring, tmp_path / 'fork', dataset='moons', steps=30)
  assert load_run.load_run(tmp_path / 'fork', 'last').config.dataset == 'moons'
