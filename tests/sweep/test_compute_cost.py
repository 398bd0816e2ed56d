import math

import pytest

from gan_jax.config.config import Config
from gan_jax.evaluation.tasks import open_task
from gan_jax.sweep import compute_cost
from gan_jax.training import session

GAME = {
  'dataset': 'ring', 'network': 'relu', 'g_width': 16, 'd_width': 8, 'g_depth': 1, 'd_depth': 1,
  'latent': 'normal', 'latent_size': 4, 'batch_size': 32, 'r1': 0.0,
}  # fmt: skip


def price(config):
  task = open_task(config, None)
  return compute_cost.arithmetic(config, session.recipe_of(config, task).gan, task.shape)


def test_arithmetic_is_that_of_the_layers():
  """Forward 2 n i o; the backward pass as much for weights and, but for the first layer, for inputs."""
  n = GAME['batch_size']
  g, d = 2 * n * (4 * 16 + 16 * 2), 2 * n * (2 * 8 + 8 * 1)
  found = price(Config(**GAME))
  # D's update: G forward; D forward on data and fakes, backward to all weights and to the hidden layer.
  assert found.d == g + 2 * (2 * d + 2 * n * 8)
  # G's update: G forward; D on fakes and data, as the loss may compare them; back through both networks.
  least = g + d + d + g
  assert least <= found.g <= least + 2 * d + 2 * n * 16 * 2


def test_a_budget_is_spent_whatever_k_is():
  for unit in compute_cost.UNITS:
    for k in ('0.5', '1', '2', '5'):
      config = Config(**GAME, k=k)
      steps = compute_cost.affordable_steps(
        config, price(config), 1e6, unit, lambda n, k=k: n * float(k)
      )
      spent = getattr(compute_cost.spent(config, price(config), steps, steps * float(k)), unit)
      assert math.isclose(spent, 1e6, rel_tol=0.01) or steps < 100


def test_what_the_controller_looks_ahead_is_paid_for():
  auto, fixed = Config(**GAME, k='auto'), Config(**GAME)
  more = compute_cost.spent(auto, price(auto), 1000, 1000).gradients
  assert more == compute_cost.spent(fixed, price(fixed), 1000, 1000).gradients + 2 * 2 * (20 + 3)


def test_examples_are_those_that_d_has_seen():
  config = Config(**GAME)
  assert compute_cost.spent(config, price(config), 10, 30).examples == 30 * 32


@pytest.mark.parametrize('update', ['simultaneous', 'extragradient'])
def test_updates_without_k_are_counted_as_they_are(update):
  config = Config(**GAME, update=update)
  turns = {'simultaneous': 2, 'extragradient': 4}[update]
  assert compute_cost.spent(config, price(config), 100, 100).gradients == 100 * turns


def test_a_controlled_k_is_paid_for_as_it_rose():
  records = [{'step': 100, 'k': 1.0}, {'step': 100, 'score': 0.5}, {'step': 200, 'k': 3.0}]
  count = compute_cost.d_updates_of(records)
  assert [count(n) for n in (0, 50, 100, 150, 200, 300)] == [0, 50, 100, 250, 400, 700]
  config = Config(**GAME, k='auto')
  # 150 steps and 250 updates of D, and 3 + 3 measurements of 4 updates.
  assert compute_cost.affordable_steps(config, price(config), 424, 'gradients', count) == 150


def test_a_budget_below_one_step_buys_one():
  config = Config(**GAME)
  assert compute_cost.affordable_steps(config, price(config), 0.5, 'gradients', lambda n: n) == 1
