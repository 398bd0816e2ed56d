"""Scripts that train several runs of a game, or draw one."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.helpers import commands

GAME = ('--dataset=ring', '--network=relu', '--g_width=8', '--d_width=8', '--latent_size=2')
SHORT = ('--batch_size=16', '--steps=20', '--log_every=20', '--eval_every=20')


def test_repeat_trains_every_seed_once_and_tells_mean_and_range(scripts, tmp_path):
  command = ('repeat', *GAME, *SHORT, '--seeds=2', '--jobs=2', f'--run={tmp_path}')
  ended = scripts(*command)
  assert (ended.code, ended.err) == (0, '')
  summary = json.loads((tmp_path / 'summary.json').read_text())
  values = summary['values']['covariance_ratio']
  assert set(values) == {'last raw', 'last ema', 'best raw', 'best ema'}
  assert len(set(values['last ema'])) == 2  # each seed is another run
  mean = f'{np.mean(values["last ema"]):.4g} +- {np.std(values["last ema"], ddof=1):.2g}'
  assert mean in ended.out
  assert (tmp_path / 'summary.md').read_text() in ended.out
  # A seed is the run that train makes, and is not made again.
  single = scripts('train', *GAME, *SHORT, '--seed=1', f'--run={tmp_path / "single"}')
  assert single.code == 0
  commands.assert_same_run(tmp_path / 'seed_1', tmp_path / 'single')
  single = scripts('train', *GAME, *SHORT, '--seed=1', f'--run={tmp_path / "seed_1"}')
  assert single.out.startswith('already finished')


def test_repeat_names_the_run_that_failed(scripts, tmp_path):
  broken = ('--d_lr=1e38', '--d_optimizer=sgd', '--r1=0', '--seeds=1')
  ended = scripts('repeat', *GAME, *SHORT, *broken, f'--run={tmp_path}')
  assert ended.code == 2
  assert re.fullmatch(r'error: \S+/seed_0 ended with exit code 3; see \S+/seed_0.log\n', ended.err)
  assert 'not finite' in (tmp_path / 'seed_0.log').read_text()


@pytest.mark.parametrize('flag', ['--jobs=0', '--seeds=0'])
def test_no_runs_at_all_are_one_line(flag, scripts, tmp_path):
  commands.assert_mistake(scripts('repeat', *GAME, flag, f'--run={tmp_path / "run"}'), flag)
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_figure_1_ends_undecided(scripts, tmp_path):
  """At the end D is 1/2 where the data are."""
  ended = scripts('figure1', f'--output={tmp_path / "x.png"}')
  assert (ended.code, ended.err) == (0, '')
  assert float(ended.out.split()[-1]) < 0.05
  with Image.open(tmp_path / 'x.png') as picture:
    assert picture.width > 3 * picture.height
