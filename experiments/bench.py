"""Measures the speed of training, metrics and start-up, as ratios to alternative implementations.

  python -m experiments.bench

The implementations alternate within each round; a figure is the median over rounds. Includes
PyTorch where it is installed.
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

# Networks, loss and minibatch of Goodfellow et al. (2014), trained by SGD with momentum.
_CONFIG = Config(
  init='2014',
  d_dropout=True,
  r1=0.0,
  g_output_bias='zeros',
  g_optimizer='sgd',
  d_optimizer='sgd',
  g_lr=0.01,
  d_lr=0.01,
)


def median_seconds(candidates: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
  """Returns the median seconds of each candidate's calls, after one warm-up call."""
  times: dict[str, list[float]] = {name: [] for name in candidates}
  for round_ in range(rounds + 1):
    for name, run in candidates.items():
      start = time.perf_counter()
      run()
      if round_:
        times[name].append(time.perf_counter() - start)
  return {name: statistics.median(values) for name, values in times.items()}


def print_table(title: str, seconds: dict[str, float], scale: float, unit: str) -> None:
  """Prints `scale` times the seconds of each candidate, and their ratio to the first one's."""
  print(f'\n{title}')
  first = next(iter(seconds.values()))
  for name, value in seconds.items():
    print(f'  {name:<58} {value * scale:9.2f} {unit}   x {value / first:.2f}')


def training_candidates(dataset: Dataset, steps: int) -> dict[str, Callable[[], Any]]:
  """Returns functions that each train the GAN of `_CONFIG` for `steps` alternating steps."""
  task = ImageTask(dataset)
  spec = build_train_spec(_CONFIG, task)
  gan = spec.gan
  key = jax.random.key(0)
  start = gan_lib.init(gan, key, jnp.zeros((1, *dataset.train.shape[1:])))
  candidates: dict[str, Callable[[], Any]] = {}
  devices = jax.devices()[:1]
  mapped = pmap.pmap(functools.partial(run_steps, spec), devices, n_args=4, donate_argnum=1)
  plain = jax.jit(functools.partial(run_steps, spec), donate_argnums=1)
  on_device = sharding.replicate(task.training_data(held_out=False).without_labels(), devices)
  for name, train_steps in (
    ('gan_jax: pmap of many steps, batches drawn inside', mapped),
    ('the same under jit', plain),
  ):
    state = jax.tree.map(jnp.copy, start)
    candidates[name] = _many_steps_per_call(train_steps, key, state, on_device, steps)
  candidates['jit of one step, batches fed by NumPy'] = _one_step_per_call(
    gan, key, start, dataset, steps
  )
  torch_steps = _pytorch_steps(dataset, steps)
  if torch_steps is not None:
    candidates['PyTorch, eager, batches fed by NumPy'] = torch_steps
  return candidates


def _many_steps_per_call(
  train_steps: Callable[..., Any],
  key: jax.Array,
  state: gan_lib.GanState,
  data: DeviceData,
  steps: int,
) -> Callable[[], None]:
  """Returns a function that continues training by one call of the compiled `train_steps`."""

  def run() -> None:
    nonlocal state
    state, metrics = train_steps(key, state, data, np.int32(steps))
    jax.device_get(metrics)

  return run


def _host_batches(dataset: Dataset) -> Iterator[np.ndarray]:
  """Yields shuffled minibatches in [-1, 1] endlessly."""
  rng = np.random.default_rng(0)
  while True:
    order = rng.permutation(len(dataset.train))
    for i in range(0, len(order) - _CONFIG.batch_size, _CONFIG.batch_size):
      yield dataset.train[order[i : i + _CONFIG.batch_size]].astype(np.float32) / 127.5 - 1


def _one_step_per_call(
  gan: gan_lib.Gan, key: jax.Array, start: gan_lib.GanState, dataset: Dataset, steps: int
) -> Callable[[], None]:
  """Returns a function that continues training by `steps` calls of a compiled step on batches of the host."""

  @functools.partial(jax.jit, donate_argnums=1)
  def step(key: jax.Array, state: gan_lib.GanState, images: jax.Array) -> Any:
    return alternating_step(gan, key, state, lambda i: Batch(images), 1)

  state, batches = jax.tree.map(jnp.copy, start), _host_batches(dataset)

  def run() -> None:
    nonlocal state
    for i in range(steps):
      state, metrics = step(jax.random.fold_in(key, i), state, next(batches))
    jax.device_get(metrics)

  return run


def _pytorch_steps(dataset: Dataset, steps: int) -> Callable[[], None] | None:
  """Returns the same training in eager PyTorch; None where PyTorch is not installed."""
  try:
    import torch
  except ImportError:
    print('(PyTorch is not installed: not measured)')
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
    return (torch.rand(_CONFIG.batch_size, 100) * 2 - 1) * 3**0.5

  def run() -> None:
    for _ in range(steps):
      real = torch.from_numpy(next(batches)).view(_CONFIG.batch_size, -1)
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


def first_step_seconds() -> float:
  """Returns the seconds from process start to the line of the first step, with a warm compilation cache."""
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
  return seconds


def main(argv: list[str]) -> None:
  """Measures all candidates and prints a table for each task."""
  del argv
  if min(_ROUNDS.value, _STEPS.value) < 1:
    raise UserError(f'--rounds={_ROUNDS.value} --steps={_STEPS.value}: give at least 1 of each')
  dataset = data.load_dataset('mnist', data.default_data_dir())
  print(f'jax {jax.__version__} on {jax.devices()[0].device_kind}')
  steps, rounds, every = _STEPS.value, _ROUNDS.value, bench_metrics.MONITOR_EVERY
  seconds = median_seconds(training_candidates(dataset, steps), rounds)
  print_table(
    'one training step of the 2014 networks, batch 100, k = 1', seconds, 1000 / steps, 'ms'
  )
  seconds = median_seconds(bench_metrics.parzen_candidates(dataset), rounds)
  print_table('Parzen log-likelihood, 1,000 images, 10,000 windows', seconds, 1, 's')
  selection, queries = parzen_evaluation.selection_and_query_rows(dataset, 'test')
  centres = sampling.to_unit_rows(dataset.train[:10_000])
  score = lambda: parzen.parzen_score(centres, selection, queries)
  seconds = median_seconds({'10,000 test images, sigma chosen on 1,000': score}, 1)
  print_table('Parzen procedure of 2014', seconds, 1, 's')
  candidates, results = bench_metrics.precision_recall_candidates(dataset)
  seconds = median_seconds(candidates, 1)
  print_table('precision, recall, density, coverage, 10,000 x 10,000', seconds, 1, 's')
  print(f'  largest difference of the two: {bench_metrics.largest_difference(results):.1g}')
  for preset in ('mnist', 'ring'):
    seconds = median_seconds(bench_metrics.monitor_candidates(preset), rounds)
    print_table(f'the training monitor beside {every} steps of {preset}', seconds, 1000, 'ms')
  seconds = median_seconds(bench_metrics.input_pipeline_candidates('mnist'), rounds)
  print_table(f'{every} steps of mnist', seconds, 1, 's')
  start = {'first step, compilation cache warm': first_step_seconds()}
  print_table('start', start, 1, 's')


if __name__ == '__main__':
  command_line.run_script(main)
