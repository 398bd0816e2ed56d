"""Tests that damaged checkpoints are detected, named and replaced by the previous one."""

import json
import shutil
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.training import checkpoint_integrity, checkpoints
from gan_jax.utils.errors import UserError


def state(step):
  return {'x': jnp.arange(50.0) + step, 'step': jnp.asarray(step)}


@pytest.fixture(scope='module')
def saved_run(tmp_path_factory):
  folder = tmp_path_factory.mktemp('saved')
  with checkpoints.open_checkpoints(folder / 'checkpoints', 3, {}) as saved:
    for step in (1, 2, 3, 4):
      saved.save(step, state(step))
      saved.wait()
  return folder


@pytest.fixture
def run(saved_run, tmp_path):
  return shutil.copytree(saved_run, tmp_path / 'run')


def largest(folder):
  return max((x for x in folder.rglob('*') if x.is_file()), key=lambda x: x.stat().st_size)


def flip_middle_bit(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


DAMAGE = {
  'has': lambda folder: largest(folder).write_bytes(largest(folder).read_bytes()[:-1]),
  'checksum': lambda folder: flip_middle_bit(largest(folder)),
  'missing': lambda folder: largest(folder).unlink(),
  'gone': lambda folder: shutil.rmtree(folder),
}


def test_every_complete_checkpoint_has_checksums_and_no_other(saved_run):
  checksums = json.loads((saved_run / checkpoint_integrity.FILE).read_text())
  assert set(checksums) >= {'2', '3', '4'}
  assert '1' not in checksums or len(checksums) == 4  # the last deleted one may remain
  assert [checkpoint_integrity.find_damage(saved_run, step) for step in (2, 3, 4)] == [None] * 3
  assert checkpoint_integrity.quarantine_damaged(saved_run) == []


@pytest.mark.parametrize('kind', DAMAGE)
def test_damage_is_named_and_the_previous_checkpoint_is_used(run, kind):
  DAMAGE[kind](checkpoint_integrity.checkpoint_path(run, 4))
  assert kind in checkpoint_integrity.find_damage(run, 4)
  with (
    checkpoints.open_checkpoints(run / 'checkpoints', 3, {}) as saved,
    pytest.raises(UserError, match=f'00000004: this checkpoint is damaged: .*{kind}'),
  ):
    saved.restore(4, state(0))
  (line,) = checkpoint_integrity.quarantine_damaged(run)
  assert str(checkpoint_integrity.checkpoint_path(run, 4)) in line
  assert kind in line
  assert not checkpoint_integrity.checkpoint_path(run, 4).exists()
  with checkpoints.open_checkpoints(run / 'checkpoints', 3, {}) as saved:
    assert saved.steps() == [2, 3]
    np.testing.assert_array_equal(saved.restore(3, state(0))['x'], state(3)['x'])
    saved.save(4, state(4))  # the damaged folder was moved away
    saved.wait()
    assert checkpoint_integrity.find_damage(run, 4) is None


def test_a_flipped_bit_in_any_file_is_detected(run):
  for path in sorted(checkpoint_integrity.checkpoint_path(run, 4).glob('*/**/*')):
    if path.is_file() and path.stat().st_size:
      flip_middle_bit(path)
      assert checkpoint_integrity.find_damage(run, 4) is not None, path
      flip_middle_bit(path)
  assert checkpoint_integrity.find_damage(run, 4) is None


def test_two_damaged_checkpoints_are_quarantined(run):
  for step in (3, 4):
    flip_middle_bit(largest(checkpoint_integrity.checkpoint_path(run, step)))
  assert len(checkpoint_integrity.quarantine_damaged(run)) == 2
  assert sorted(x.name for x in (run / 'damaged').iterdir()) == ['00000003', '00000004']
  assert checkpoint_integrity.quarantine_damaged(run) == []


@pytest.mark.parametrize('text', [None, '', '[]', '{"4": 3}', '{"x": {}}'])
def test_without_checksums_no_damage_is_reported(run, text):
  path = run / checkpoint_integrity.FILE
  path.unlink() if text is None else path.write_text(text)
  flip_middle_bit(largest(checkpoint_integrity.checkpoint_path(run, 4)))
  assert checkpoint_integrity.quarantine_damaged(run) == []
  assert checkpoint_integrity.find_damage(run, 4) is None


class NeverClosing:
  """Stands for Checkpoints whose last save other processes never complete."""

  def __init__(self, folder, keep, scores):
    self.never = threading.Event()

  def close(self):
    self.never.wait(600)


def test_a_failing_process_waits_only_briefly_for_the_others(tmp_path, monkeypatch):
  monkeypatch.setattr(checkpoints, 'Checkpoints', NeverClosing)
  monkeypatch.setattr(checkpoints, '_CLOSE_TIMEOUT', 0.1)
  monkeypatch.setattr(checkpoints.jax, 'process_count', lambda: 2)
  with pytest.raises(OSError, match='full'), checkpoints.open_checkpoints(tmp_path, 3, {}):
    raise OSError('the disk is full')
