"""Tests the referee script on a run, and on files of samples."""

import json

import jax
import numpy as np
import pytest

from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.training import metric_writers
from tests.helpers import commands

RING = ('--dataset=ring', '--network=relu', '--g_width=8', '--d_width=8', '--latent_size=2')
SHORT = ('--batch_size=16', '--steps=40', '--log_every=20', '--eval_every=20', '--referee_every=5')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Writes files of points: training data, held-out data, perfect samples, noisy ones, and too few."""
  folder = tmp_path_factory.mktemp('sets')
  draw = jax.jit(jax.vmap(SYNTHETIC['ring'].sample))
  for i, name in enumerate(('real', 'heldout', 'good')):
    np.savez(folder / f'{name}.npz', draw(jax.random.split(jax.random.key(i), 2000)))
  good = np.load(folder / 'good.npz')['arr_0']
  noise = np.random.default_rng(0).normal(size=good.shape).astype(np.float32)
  np.savez(folder / 'noisy.npz', good + 0.05 * noise)
  np.savez(folder / 'few.npz', good[:500])
  np.savez(folder / 'too_few.npz', good[:50])
  np.savez(folder / 'images.npz', np.zeros((2000, 4, 4), np.uint8))
  return folder


def sample_flags(files, fake, *more):
  flags = (f'--heldout={files}/heldout.npz', f'--fake={files}/{fake}.npz')
  return ('referee', f'--real={files}/real.npz', *flags, *more)


@pytest.mark.parametrize(
  ('fake', 'verdict'),
  [('good', 'converged'), pytest.param('few', 'converged', marks=pytest.mark.slow)],
)
def test_files_of_samples_get_a_verdict(scripts, files, tmp_path, fake, verdict):
  ended = scripts(
    *sample_flags(files, fake, f'--json={tmp_path}/v.json', f'--page={tmp_path}/v.html')
  )
  assert (ended.code, ended.err) == (0, '')
  assert ended.out.startswith(f'verdict: {verdict} (confidence ')
  record = json.loads((tmp_path / 'v.json').read_text())
  assert record['verdict'] == verdict
  assert record['protocol']['n_train'] == 2000
  assert verdict in (tmp_path / 'v.html').read_text()


@pytest.mark.slow
def test_copies_of_training_data_are_recognised_where_training_data_are_given(scripts, files):
  real = np.load(files / 'real.npz')['arr_0']
  np.savez(files / 'copies.npz', real[::-1])
  assert scripts(*sample_flags(files, 'copies')).out.startswith('verdict: memorised training data')
  flags = (f'--heldout={files}/heldout.npz', f'--fake={files}/copies.npz')
  without = scripts('referee', *flags)
  assert without.out.startswith('verdict: converged')
  assert 'n_train 0' in without.out


@pytest.mark.slow
def test_a_verdict_on_a_run_uses_its_discriminator_and_its_monitors(scripts, tmp_path):
  run = tmp_path / 'run'
  assert scripts('train', *RING, *SHORT, f'--run={run}').code == 0
  monitored = [r for r in metric_writers.read_metrics(run / 'metrics.jsonl') if 'watch_gap' in r]
  assert [r['step'] for r in monitored] == [5, 10, 15, 20, 25, 30, 35, 40]
  ended = scripts('referee', f'--run={run}', timeout=300)
  assert (ended.code, ended.err) == (0, '')
  verdict = ended.out.splitlines()[0]
  assert verdict.startswith('verdict: ')
  assert not verdict.startswith('verdict: converged')
  record = json.loads((run / 'referee.json').read_text())
  assert record['evidence']['history']['steps'] == [5, 10, 15, 20, 25, 30, 35, 40]
  assert record['evidence']['own']['held_out'] is not None
  assert record['verdict'] in (run / 'report.html').read_text()


def test_an_alarm_is_printed_once_and_ends_the_run_where_asked(scripts, tmp_path):
  run = tmp_path / 'run'
  fast = ('--g_lr=30', '--d_lr=1', '--g_optimizer=sgd', '--d_optimizer=sgd', '--r1=0')
  more = (*fast, '--stop_on=diverged,collapse', f'--run={run}')
  ended = scripts('train', *RING, *SHORT, '--steps=400', *more)
  assert (ended.code, ended.err.count('alarm, ')) == (5, 1)
  (alarm,) = [r for r in metric_writers.read_metrics(run / 'metrics.jsonl') if 'alarm' in r]
  assert alarm['alarm'] in ('diverged', 'collapse')
  assert f'ended by --stop_on={alarm["alarm"]} at step {alarm["step"]}' in ended.out
  assert int(commands.newest_checkpoint(run).name) == alarm['step']


MISTAKES = [
  ('referee', 'give either --run=FOLDER, or --heldout=FILE --fake=FILE'),
  ('referee --run=x --fake=y', 'give either --run=FOLDER'),
  ('referee --run={files}/none', 'none'),
  ('referee --fake={files}/good.npz', '--heldout: missing'),
  ('referee --heldout={files}/heldout.npz', '--fake: missing'),
  ('referee --heldout={files}/heldout.npz --fake={files}/heldout.npz', 'the same examples as'),
  ('referee --heldout={files}/heldout.npz --fake={files}/too_few.npz', '50 finite examples', '100'),
  ('referee --heldout={files}/heldout.npz --fake={files}/images.npz', '4 x 4 x 1', '2'),
  ('referee --heldout={files}/heldout.npz --fake={files}/none.npz', 'none.npz', 'no such file'),
  ('train --stop_on=boredom', '--stop_on=boredom', 'collapse'),
  ('train --stop_on=collapse --referee_every=0', '--referee_every=0'),
]


@pytest.mark.parametrize(
  ('command', *(f'fragment_{i}' for i in range(2))),
  [(command, *(fragments * 2)[:2]) for command, *fragments in MISTAKES],
)
def test_mistakes_get_one_line(scripts, files, command, fragment_0, fragment_1):
  ended = scripts(*command.format(files=files).split())
  assert ended.code == 2, ended
  assert ended.err.count('\n') == 1
  assert ended.err.startswith('error: ')
  assert fragment_0 in ended.err
  assert fragment_1 in ended.err
