"""How fast it is, as ratios to what one would use instead, all measured in one run.

  python -m experiments.bench

Rounds of the rivals take turns, and each figure is the median over rounds. PyTorch takes part where
it is installed.
"""

import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from gan_jax import data
from gan_jax.config.run_config import Config
from gan_jax.data import Dataset
from gan_jax.data.device_batches import Batch, DeviceData
from gan_jax.distributed import pmap, sharding
from gan_jax.evaluation import parzen_evaluation, sampling
from gan_jax.evaluation.tasks.image_task import ImageTask
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.train_step import run_steps
from gan_jax.gan.update_rules import alternating_step
from gan_jax.metrics import parzen
from gan_jax.training.train_spec import build_train_spec
from gan_jax.utils.errors import UserError

from . import bench_metrics, command_line

_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Rounds of each measurement.')
_STEPS = flags.DEFINE_integer('steps', 40, 'Training steps in a round.')

# The networks, loss and minibatch of 2014 with plain momentum, which every rival has.
_GAME = Config(
  init='2014',
  d_dropout=True,
  r1=0.0,
  g_output_bias='zeros',
  g_optimizer='sgd',
  d_optimizer='sgd',
  g_lr=0.01,
  d_lr=0.01,
)


def measure(rivals: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
  """Median seconds of each rival, after one call that is not counted."""
  times: dict[str, list[float]] = {name: [] for name in rivals}
  for round_ in range(rounds + 1):
    for name, run in rivals.items():
      start = time.perf_counter()
      run()
      if round_:
        times[name].append(time.perf_counter() - start)
  return {name: statistics.median(values) for name, values in times.items()}


def show(title: str, seconds: dict[str, float], scale: float, unit: str) -> None:
  """A table with the ratio of each rival to the first."""
  print(f'\n{title}')
  first = next(iter(seconds.values()))
  for name, value in seconds.items():
    print(f'  {name:<58} {value * scale:9.2f} {unit}   x {value / first:.2f}')


def training(dataset: Dataset, steps: int) -> dict[str, Callable[[], Any]]:
  """Rivals that each take `steps` alternating steps of the game `_GAME`."""
  task = ImageTask(dataset)
  recipe = build_train_spec(_GAME, task)
  gan = recipe.gan
  key = jax.random.key(0)
  start = gan_lib.init(gan, key, jnp.zeros((1, *dataset.train.shape[1:])))
  rivals: dict[str, Callable[[], Any]] = {}
  devices = jax.devices()[:1]
  mapped = pmap.pmap(functools.partial(run_steps, recipe), devices, n_args=4, donate_argnum=1)
  plain = jax.jit(functools.partial(run_steps, recipe), donate_argnums=1)
  on_device = sharding.replicate(task.training_data(held_out=False).without_labels(), devices)
  for name, stretch in (
    ('gan_jax: pmap of many steps, batches drawn inside', mapped),
    ('the same under jit', plain),
  ):
    rivals[name] = _stretches(stretch, key, jax.tree.map(jnp.copy, start), on_device, steps)
  rivals['jit of one step, batches fed by NumPy'] = _fed(gan, key, start, dataset, steps)
  torch_steps = _torch(dataset, steps)
  if torch_steps is not None:
    rivals['PyTorch, eager, batches fed by NumPy'] = torch_steps
  return rivals


def _stretches(
  stretch: Callable[..., Any], key: jax.Array, state: gan_lib.GanState, data: DeviceData, n: int
) -> Callable[[], None]:
  held = [state]

  def run() -> None:
    held[0], metrics = stretch(key, held[0], data, np.int32(n))
    jax.device_get(metrics)

  return run


def _host_batches(dataset: Dataset) -> Iterator[np.ndarray]:
  rng = np.random.default_rng(0)
  while True:
    order = rng.permutation(len(dataset.train))
    for i in range(0, len(order) - _GAME.batch_size, _GAME.batch_size):
      yield dataset.train[order[i : i + _GAME.batch_size]].astype(np.float32) / 127.5 - 1


def _fed(
  gan: gan_lib.Gan, key: jax.Array, start: gan_lib.GanState, dataset: Dataset, steps: int
) -> Callable[[], None]:
  @functools.partial(jax.jit, donate_argnums=1)
  def step(key: jax.Array, state: gan_lib.GanState, images: jax.Array) -> Any:
    return alternating_step(gan, key, state, lambda i: Batch(images), 1)

  held, batches = [jax.tree.map(jnp.copy, start)], _host_batches(dataset)

  def run() -> None:
    for i in range(steps):
      held[0], metrics = step(jax.random.fold_in(key, i), held[0], next(batches))
    jax.device_get(metrics)

  return run


def _torch(dataset: Dataset, steps: int) -> Callable[[], None] | None:
  """The same game in PyTorch as its users write it; None where PyTorch is not installed."""
  try:
    import torch
  except ImportError:
    print('(PyTorch is not installed and takes no part)')
    return None
  nn: Any = torch.nn
  batches = _host_batches(dataset)

  class Maxout(nn.Module):
    def __init__(self, inputs: int, units: int):
      super().__init__()
      self.linear = nn.Linear(inputs, units * 5)

    def forward(self, x: Any) -> Any:
      return self.linear(x).view(x.shape[0], 5, -1).amax(dim=1)

  hidden = (nn.Linear(100, 1200), nn.ReLU(), nn.Linear(1200, 1200), nn.ReLU())
  g = nn.Sequential(*hidden, nn.Linear(1200, 784), nn.Tanh())
  maxouts = (nn.Dropout(0.2), Maxout(784, 240), nn.Dropout(), Maxout(240, 240), nn.Dropout())
  d = nn.Sequential(*maxouts, nn.Linear(240, 1))
  average = [p.detach().clone() for p in g.parameters()]
  g_opt, d_opt = (torch.optim.SGD(x.parameters(), 0.01, 0.5) for x in (g, d))
  softplus = nn.functional.softplus

  def latents() -> Any:
    return (torch.rand(_GAME.batch_size, 100) * 2 - 1) * 3**0.5

  def run() -> None:
    for _ in range(steps):
      real = torch.from_numpy(next(batches)).view(_GAME.batch_size, -1)
      d_opt.zero_grad()
      fakes = g(latents()).detach()
      (softplus(-d(real)).mean() + softplus(d(fakes)).mean()).backward()
      d_opt.step()
      g_opt.zero_grad()
      softplus(-d(g(latents()))).mean().backward()
      g_opt.step()
      with torch.no_grad():
        torch._foreach_lerp_(average, list(g.parameters()), 0.001)

  return run


def start_up() -> dict[str, float]:
  """Seconds from the start of a training process to the line of its first step, second start."""
  seconds = 0.0
  for _ in range(2):
    with tempfile.TemporaryDirectory() as folder:
      flags_ = (f'--run={Path(folder) / "run"}', '--steps=1')
      command = [sys.executable, '-m', f'{__package__}.train', *flags_]
      start = time.perf_counter()
      with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
          if line.startswith('step 1/'):
            seconds = time.perf_counter() - start
            break
        process.kill()
  return {'first step, compilation cache warm': seconds}


def main(argv: list[str]) -> None:
  """Measure and print."""
  del argv
  if min(_ROUNDS.value, _STEPS.value) < 1:
    raise UserError(f'--rounds={_ROUNDS.value} --steps={_STEPS.value}: give at least 1 of each')
  dataset = data.load_dataset('mnist', data.default_data_dir())
  print(f'jax {jax.__version__} on {jax.devices()[0].device_kind}')
  steps = _STEPS.value
  seconds = measure(training(dataset, steps), _ROUNDS.value)
  show('one training step of the 2014 networks, batch 100, k = 1', seconds, 1000 / steps, 'ms')
  show(
    'Parzen log-likelihood, 1,000 images, 10,000 windows',
    measure(bench_metrics.density(dataset), _ROUNDS.value),
    1,
    's',
  )
  selection, queries = parzen_evaluation.selection_and_query_rows(dataset, 'test')
  centres = sampling.to_unit_rows(dataset.train[:10_000])
  whole = measure({'': lambda: parzen.parzen_score(centres, selection, queries)}, 1)['']
  show('Parzen procedure of 2014', {'10,000 test images, sigma chosen on 1,000': whole}, 1, 's')
  rivals, found = bench_metrics.manifolds(dataset)
  show('precision, recall, density, coverage, 10,000 x 10,000', measure(rivals, 1), 1, 's')
  print(f'  the same to {bench_metrics.difference(found):.1g}')
  for preset in ('mnist', 'ring'):
    show(
      f"the referee's looks in {bench_metrics.EVERY} steps of {preset}",
      measure(bench_metrics.looks(preset), _ROUNDS.value),
      1000,
      'ms',
    )
  seconds = measure(bench_metrics.supplies('mnist'), _ROUNDS.value)
  show(f'{bench_metrics.EVERY} steps of mnist', seconds, 1, 's')
  show('start', start_up(), 1, 's')


if __name__ == '__main__':
  command_line.run_script(main)
