"""The faults by name, where they can be planted, and which verdicts are right about them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from experiments.referee_benchmark import benchmark_discriminators, faulty_runs, faulty_samplers
from experiments.referee_benchmark.benchmark_data import (
  IMAGE_DATASETS,
  SYNTHETIC_DATASETS,
  BenchmarkData,
)
from experiments.referee_benchmark.faulty_runs import FaultyRunSpec
from experiments.referee_benchmark.faulty_samplers import Rng
from gan_jax.diagnosis.diagnostic_statistics import MonitorHistory
from gan_jax.diagnosis.discriminator_bound import DiscriminatorOutputs


class CaseData(NamedTuple):
  """What the referee is shown."""

  fake: np.ndarray
  train: np.ndarray
  outputs: DiscriminatorOutputs | None = None
  history: MonitorHistory | None = None
  losses: np.ndarray | None = None  # of D and of G over the run [looks, 2]


class Fault(NamedTuple):
  """A fault: the verdicts that are right about it, the first of which it is counted under."""

  right: tuple[str, ...]
  make: Callable[[BenchmarkData, Rng], CaseData]
  where: tuple[str, ...] = (*SYNTHETIC_DATASETS, *IMAGE_DATASETS)


class Case(NamedTuple):
  """One planted fault."""

  world: str
  kind: str
  seed: int


def _sampler(
  sample: Callable[[BenchmarkData, Rng], np.ndarray], *critic: str
) -> Callable[..., CaseData]:
  """Samples beside one of these kinds of D, drawn by chance; '' for none."""

  def make(world: BenchmarkData, rng: Rng) -> CaseData:
    fake = sample(world, rng)
    kind = critic[int(rng.integers(len(critic)))]
    n = len(fake) // 2 if world.is_images else min(len(fake), 20_000)
    outputs = (
      benchmark_discriminators.train_and_apply_discriminator(
        world, kind, fake, int(rng.integers(1 << 30))
      )
      if kind
      else None
    )
    return CaseData(fake[:n], world.train, outputs)

  return make


def _replay(sample: Callable[[BenchmarkData, Rng], np.ndarray]) -> Callable[..., CaseData]:
  def make(world: BenchmarkData, rng: Rng) -> CaseData:
    part = faulty_samplers.with_small_training_set(world, rng)
    return CaseData(sample(part, rng)[:20_000], part.train)

  return make


def _run(plan: Callable[[BenchmarkData, Rng], FaultyRunSpec]) -> Callable[..., CaseData]:
  def make(world: BenchmarkData, rng: Rng) -> CaseData:
    run = faulty_runs.train_faulty_run(world, plan(world, rng), int(rng.integers(1 << 30)))
    return CaseData(run.fake, run.train, run.outputs, run.history, run.losses)

  return make


def _starved(world: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  settings: dict[str, Any] = {'loss': 'saturating', 'k': '2', 'd_lr': 2e-3, 'g_lr': 1e-4}
  return FaultyRunSpec(settings, 600, head_start=600)


def _small_set(world: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  n = int(rng.integers(50, 200))
  return FaultyRunSpec({'k': '2', 'd_width': 128, 'd_lr': 1e-3}, 1000, n_train=n)


def _diverging(world: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  return FaultyRunSpec({'g_lr': rng.uniform(0.05, 0.3), 'd_lr': rng.uniform(0.02, 0.1)}, 600)


def _cycling(world: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  lr = rng.uniform(0.01, 0.03)
  return FaultyRunSpec(
    {'g_lr': lr, 'd_lr': lr, 'g_b1': 0.9, 'd_b1': 0.9, 'update': 'simultaneous'}, 800
  )


def _half_trained(world: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  if world.is_images:
    preset = {'r1': 1.0, 'g_width': 0, 'd_width': 0, 'latent_size': 100, 'batch_size': 100}
    return FaultyRunSpec(preset, int(rng.integers(500, 800)))
  settings = {'loss': 'relativistic', 'r1': 0.01, 'r2': 0.01, 'batch_size': 256, 'g_b1': 0.0}
  return FaultyRunSpec(
    settings | {'d_b1': 0.0, 'g_lr': 1e-4, 'd_lr': 4e-4}, int(rng.integers(250, 450))
  )


def _with_frozen_critic(world: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  return FaultyRunSpec({'d_lr': 1e-9}, 500)


_GAMES = tuple(SYNTHETIC_DATASETS)
_APART = ('ring', 'painter', *IMAGE_DATASETS)  # where D can be right about every first sample
FAULTS: dict[str, Fault] = {
  'perfect, without D': Fault(('converged',), _sampler(faulty_samplers.perfect_samples, '')),
  'perfect, D healthy': Fault(('converged',), _sampler(faulty_samplers.perfect_samples, 'healthy')),
  'perfect, D untrained': Fault(
    ('converged',), _sampler(faulty_samplers.perfect_samples, 'untrained')
  ),
  'perfect, D linear': Fault(('converged',), _sampler(faulty_samplers.perfect_samples, 'linear')),
  'noise': Fault(('G behind',), _sampler(faulty_samplers.noisy_samples, '', 'healthy')),
  'blur': Fault(
    ('G behind',), _sampler(faulty_samplers.blurred_images, '', 'healthy'), IMAGE_DATASETS
  ),
  'noise, D untrained': Fault(
    ('D too weak',), _sampler(faulty_samplers.noisy_samples, 'untrained')
  ),
  'noise, D linear': Fault(
    ('D too weak',), _sampler(faulty_samplers.noisy_samples, 'linear'), _GAMES
  ),
  'noise, D starved of steps': Fault(
    ('D too weak',), _sampler(faulty_samplers.noisy_samples, 'starved of steps')
  ),
  'noise, D knows its data by heart': Fault(
    ('D overfitted',), _sampler(faulty_samplers.noisy_samples, 'by heart')
  ),
  'modes dropped': Fault(
    ('mode collapse',), _sampler(faulty_samplers.samples_with_dropped_modes, '', 'healthy')
  ),
  'modes reweighted': Fault(
    ('mode collapse',), _sampler(faulty_samplers.samples_with_reweighted_modes, '', 'healthy')
  ),
  'modes shrunk': Fault(
    ('mode collapse',), _sampler(faulty_samplers.samples_with_shrunken_modes, '', 'healthy')
  ),
  'replay': Fault(('memorised training data',), _replay(faulty_samplers.training_copies)),
  'replay with jitter': Fault(
    ('memorised training data',), _replay(faulty_samplers.jittered_training_copies)
  ),
  'run starved of gradients': Fault(('D too strong',), _run(_starved), _APART),
  'run on a small set': Fault(
    ('D overfitted', 'memorised training data'), _run(_small_set), IMAGE_DATASETS
  ),
  'run with rates far too large': Fault(('diverged or cycling',), _run(_diverging)),
  'run that cycles': Fault(('diverged or cycling',), _run(_cycling), _GAMES),
  'run cut off half-way': Fault(('still improving',), _run(_half_trained)),
  'run with D frozen': Fault(('D too weak',), _run(_with_frozen_critic)),
}


def iterate_cases(seeds: int) -> Iterator[Case]:
  """All of them, world by world and seed by seed; images, which cost five times as much, for half the seeds."""
  for world in (*SYNTHETIC_DATASETS, *IMAGE_DATASETS):
    for seed in range(seeds if world in SYNTHETIC_DATASETS else seeds // 2):
      yield from (Case(world, name, seed) for name, kind in FAULTS.items() if world in kind.where)


def build_case(case: Case, world: BenchmarkData) -> CaseData:
  """Plant the fault; the same for the same case."""
  rng = np.random.default_rng([crc32(f'{case.world} {case.kind}'.encode()), case.seed])
  return FAULTS[case.kind].make(world, rng)
