import math

import pytest

from gan_jax.config.run_config import Config
from gan_jax.evaluation.tasks import load_task
from gan_jax.sweep import compute_budget
from gan_jax.training.train_spec import build_train_spec

GAME = {
  'dataset': 'ring', 'network': 'relu', 'g_width': 16, 'd_width': 8, 'g_depth': 1, 'd_depth': 1,
  'latent': 'normal', 'latent_size': 4, 'batch_size': 32, 'r1': 0.0,
}  # fmt: skip


def update_flops(config):
  task = load_task(config, None)
  return compute_budget.count_update_flops(config, build_train_spec(config, task).gan, task.shape)


def cost_fn(config, unit, d_updates):
  flops = update_flops(config)
  return lambda n: getattr(compute_budget.run_cost(config, flops, n, d_updates(n)), unit)


def test_flops_are_those_of_the_layers():
  """Forward 2 n i o; the backward pass as much for weights and, but for the first layer, for inputs."""
  n = GAME['batch_size']
  g, d = 2 * n * (4 * 16 + 16 * 2), 2 * n * (2 * 8 + 8 * 1)
  flops = update_flops(Config(**GAME))
  # D's update: G forward; D forward on data and fakes, backward to all weights and to the hidden layer.
  assert flops.d == g + 2 * (2 * d + 2 * n * 8)
  # G's update: G forward; D on fakes and data, as the loss may compare them; back through both networks.
  least = g + d + d + g
  assert least <= flops.g <= least + 2 * d + 2 * n * 16 * 2


def test_a_budget_is_spent_whatever_k_is():
  for unit in compute_budget.COST_UNITS:
    for k in ('0.5', '1', '2', '5'):
      config = Config(**GAME, k=k)
      cost = cost_fn(config, unit, lambda n, k=k: n * float(k))
      steps = compute_budget.affordable_steps(cost, 1e6)
      spent = getattr(
        compute_budget.run_cost(config, update_flops(config), steps, steps * float(k)), unit
      )
      assert math.isclose(spent, 1e6, rel_tol=0.01) or steps < 100


def test_look_ahead_updates_of_the_controller_are_counted():
  auto, fixed = Config(**GAME, k='auto'), Config(**GAME)
  more = compute_budget.run_cost(auto, update_flops(auto), 1000, 1000).gradients
  assert more == compute_budget.run_cost(
    fixed, update_flops(fixed), 1000, 1000
  ).gradients + 2 * 2 * (20 + 3)


def test_examples_are_those_of_updates_of_d():
  config = Config(**GAME)
  assert compute_budget.run_cost(config, update_flops(config), 10, 30).examples == 30 * 32


@pytest.mark.parametrize('update', ['simultaneous', 'extragradient'])
def test_gradients_of_other_update_rules_are_counted(update):
  config = Config(**GAME, update=update)
  per_step = {'simultaneous': 2, 'extragradient': 4}[update]
  assert compute_budget.run_cost(config, update_flops(config), 100, 100).gradients == 100 * per_step


def test_a_controlled_k_costs_what_its_metrics_say():
  records = [{'step': 100, 'k': 1.0}, {'step': 100, 'score': 0.5}, {'step': 200, 'k': 3.0}]
  count = compute_budget.d_updates_from_metrics(records)
  assert [count(n) for n in (0, 50, 100, 150, 200, 300)] == [0, 50, 100, 250, 400, 700]
  config = Config(**GAME, k='auto')
  # 150 steps and 250 updates of D, and 3 + 3 measurements of 4 updates.
  assert compute_budget.affordable_steps(cost_fn(config, 'gradients', count), 424) == 150


def test_a_budget_below_one_step_buys_one():
  config = Config(**GAME)
  cost = cost_fn(config, 'gradients', lambda n: n)
  assert compute_budget.affordable_steps(cost, 0.5) == 1
