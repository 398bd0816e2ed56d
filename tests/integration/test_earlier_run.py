"""Tests that a run of 2026-11-30, before modules moved into packages, still opens and resumes."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from gan_jax.training.load_run import load_run
from tests.helpers import commands

EARLIER = pathlib.Path(__file__).with_name('earlier_run')
EXPECTED = json.loads((EARLIER / 'expected.json').read_text())
FLAGS = (
  *('--dataset=ring', '--network=relu', '--g_width=8', '--d_width=8', '--latent=normal'),
  *('--latent_size=2', '--k=0.5', '--r1=0.1', '--batch_size=32', '--log_every=5'),
  *('--eval_every=20', '--checkpoint_every=20', '--referee_every=10', '--keep=1'),
)


@pytest.fixture
def earlier(tmp_path):
  """Copies the run, which stopped at step 20."""
  return shutil.copytree(EARLIER, tmp_path / 'run')


def test_an_earlier_run_loads(earlier):
  run = load_run(earlier, 'last')
  assert (run.step, int(run.state.step), int(run.state.d.count)) == (20, 20, 10)
  assert (run.config.dataset, run.config.k, run.shape) == ('ring', '0.5', (2,))


def test_an_earlier_run_gives_the_same_samples(earlier, tmp_path, scripts):
  output = tmp_path / 'samples.npz'
  ended = scripts('sample', f'--run={earlier}', '--num_samples=64', f'--output={output}')
  assert ended.code == 0, ended.err
  with np.load(output) as arrays:
    np.testing.assert_allclose(
      arrays[EXPECTED['key']][:4], EXPECTED['samples'], rtol=1e-4, atol=1e-5
    )


def test_an_earlier_run_is_evaluated(earlier, scripts):
  ended = scripts('evaluate', f'--run={earlier}')
  assert ended.code == 0, ended.err
  assert (earlier / 'evaluation_test_00000020.json').exists()


def test_an_earlier_run_resumes_with_the_same_records(earlier, scripts):
  ended = scripts('train', *FLAGS, '--steps=40', f'--run={earlier}')
  assert ended.code == 0, ended.err
  records = [record for record in commands.records(earlier) if record['step'] > 20]
  assert [[*record] for record in records] == [[*record] for record in EXPECTED['resumed']]
  for record, expected in zip(records, EXPECTED['resumed'], strict=True):
    np.testing.assert_allclose([*record.values()], [*expected.values()], rtol=1e-3, atol=1e-5)
