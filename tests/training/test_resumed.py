import dataclasses

import jax
import numpy as np
import pytest

from gan_jax.training import checkpoints
from tests.helpers import small_runs
from tests.helpers.small_runs import RING, SMALL, final_state_and_records, run
from tests.helpers.tiny_gan import assert_trees_equal

COMPILE_OPTIMIZED = True  # compares bits of the programs that users run


@pytest.fixture(autouse=True)
def fast_evaluations(monkeypatch):
  small_runs.use_noise_dataset(monkeypatch)
  small_runs.disable_figures(monkeypatch)


@pytest.mark.parametrize(
  'config',
  [
    dataclasses.replace(SMALL, k='auto', augment='translation', ada_target=0.01),
    dataclasses.replace(SMALL, k='1.5', conditional=True, d_dropout=True, r1_every=4),
    dataclasses.replace(SMALL, update='simultaneous', g_optimizer='sgd_2014', g_b2=0.7),
    RING,
  ],
  ids=['controllers', 'conditional', '2014', 'synthetic'],
)
def test_resumed_equals_unbroken_bit_for_bit(tmp_path, config):
  """The state holds all that a run depends on, and checkpoints hold the whole state."""
  run(tmp_path / 'whole', config)
  for steps in (13, 25):
    run(tmp_path / 'parts', dataclasses.replace(config, steps=steps))
  whole, parts = (
    final_state_and_records(tmp_path / 'whole')[0],
    final_state_and_records(tmp_path / 'parts')[0],
  )
  assert_trees_equal(parts, whole)
  assert set(whole.controls) == ({'k', 'augment'} if config.k == 'auto' else set())
  if config.k == 'auto':
    assert whole.controls['augment'].r_t != 0
    assert whole.controls['k'].gain != 0
  assert whole.d.count == {'auto': whole.d.count, '1': 25, '1.5': 38}[config.k]


def test_a_run_killed_right_after_a_checkpoint_has_all_its_records(tmp_path, monkeypatch):
  """The records of a step, with those of the monitor, are written before its checkpoint."""
  config = dataclasses.replace(SMALL, referee_every=10)
  run(tmp_path / 'whole', config)
  save = checkpoints.Checkpoints.save

  def save_and_kill(self, step, *args):
    save(self, step, *args)
    self.wait()
    raise KeyboardInterrupt

  with monkeypatch.context() as patched:
    patched.setattr(checkpoints.Checkpoints, 'save', save_and_kill)
    with pytest.raises(KeyboardInterrupt):
      run(tmp_path / 'broken', config)
  run(tmp_path / 'broken', config)
  whole, broken = (
    final_state_and_records(tmp_path / 'whole')[1],
    final_state_and_records(tmp_path / 'broken')[1],
  )
  assert broken == whole
  assert [r['step'] for r in whole if 'watch_gap' in r] == [10, 20]


def test_same_seed_same_run_and_another_seed_another(tmp_path):
  for name, seed in (('a', 0), ('b', 0), ('c', 1)):
    run(tmp_path / name, dataclasses.replace(SMALL, seed=seed))
  assert_trees_equal(
    final_state_and_records(tmp_path / 'a')[0], final_state_and_records(tmp_path / 'b')[0]
  )
  assert final_state_and_records(tmp_path / 'a')[1] == final_state_and_records(tmp_path / 'b')[1]
  assert final_state_and_records(tmp_path / 'a')[1] != final_state_and_records(tmp_path / 'c')[1]


def test_a_run_resumes_on_another_number_of_devices(tmp_path):
  run(tmp_path / 'one')
  run(tmp_path / 'many', dataclasses.replace(SMALL, steps=10), n_devices=4)
  run(tmp_path / 'many', n_devices=2)
  one, many = (
    final_state_and_records(tmp_path / 'one')[0],
    final_state_and_records(tmp_path / 'many')[0],
  )
  for a, b in zip(jax.tree.leaves(one.g_ema), jax.tree.leaves(many.g_ema), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)
