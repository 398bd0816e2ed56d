import json

import numpy as np
import pytest

from gan_jax.config.run_config import Config
from gan_jax.evaluation.tasks import load_task
from gan_jax.gan.update_ratio import RatioController
from gan_jax.sweep import equal_compute, search_space
from gan_jax.sweep.results_table import ResultRow

BASE = Config(
  dataset='ring', network='relu', g_width=16, d_width=8, g_depth=1, d_depth=1, latent='normal',
  latent_size=4, batch_size=32, r1=0.0, steps=1000,
)  # fmt: skip


@pytest.fixture(scope='module')
def task():
  return load_task(BASE, None)


def comparison(task, *axes):
  return equal_compute.Comparison(
    BASE, search_space.setting_product(search_space.parse_axes(axes)), 2, 'gradients', 0, None, lambda c: task,
    [], 'map', {}, {}
  )  # fmt: skip


def test_a_budget_buys_as_many_gradients_of_every_setting(task):
  steps = equal_compute._setting_steps(comparison(task, 'k=0.5,1,2,5'), 'gradients', [])
  spent = [n * (1 + float(dict(setting)['k'])) for setting, n in steps.items()]
  np.testing.assert_allclose(spent, 2 * BASE.steps, rtol=0.01)


def trained(folder, setting, seed, first, then):
  """A run whose k was `first` in one half and `then` in the other."""
  folder.mkdir()
  ks = ((BASE.steps // 2, first), (BASE.steps, then))
  (folder / 'metrics.jsonl').write_text(
    ''.join(json.dumps({'step': step, 'k': k}) + '\n' for step, k in ks)
  )
  return ResultRow(equal_compute.G_UPDATES, setting, seed, 'finished', 0.0, {'run': str(folder)})


@pytest.mark.parametrize('then', [1.0, 5.0])
def test_a_controlled_k_costs_what_it_did_at_the_same_step(task, tmp_path, then):
  """A budget that ends in the first half is spent at the k of the first half, whatever came later."""
  compared = comparison(task, 'k=auto')
  (setting,) = compared.settings
  rows = [trained(tmp_path / str(i), setting, i, first, then) for i, first in enumerate((4.0, 5.0))]
  (steps,) = equal_compute._setting_steps(compared, 'gradients', rows).values()
  assert (
    abs(steps * (1 + 4.5) + 2 * RatioController().lookahead_updates(steps) - 2 * BASE.steps) <= 3
  )


def test_without_finished_runs_of_a_controlled_k_some_steps_are_affordable(task):
  (steps,) = equal_compute._setting_steps(comparison(task, 'k=auto'), 'gradients', []).values()
  assert 1 <= steps <= BASE.steps
