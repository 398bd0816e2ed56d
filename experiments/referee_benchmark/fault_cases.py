"""Lists the faults of the benchmark: how each is built, on which data sets, and which verdicts are right."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from gan_jax.diagnosis.discriminator_calibration import DiscriminatorOutputs
from gan_jax.diagnosis.training_monitors import MonitorHistory

from . import benchmark_discriminators, faulty_runs, faulty_samplers as samplers
from .benchmark_data import (
  IMAGE_DATASETS,
  SYNTHETIC_DATASETS,
  BenchmarkData,
)
from .faulty_runs import FaultyRunSpec
from .faulty_samplers import Rng

SampleFn = Callable[[BenchmarkData, Rng], np.ndarray]


class CaseData(NamedTuple):
  """Holds the referee's input for one case."""

  fake: np.ndarray
  train: np.ndarray
  outputs: DiscriminatorOutputs | None = None
  history: MonitorHistory | None = None
  losses: np.ndarray | None = None  # of D and of G during the run [records, 2]


class Fault(NamedTuple):
  """Holds how a fault, or a perfect sampler, is built and diagnosed."""

  verdicts: tuple[str, ...]  # right ones; tables count the case under the first
  build: Callable[[BenchmarkData, Rng], CaseData]
  datasets: tuple[str, ...] = (*SYNTHETIC_DATASETS, *IMAGE_DATASETS)


class Case(NamedTuple):
  """Identifies one case of the benchmark."""

  dataset: str
  fault: str  # a key of FAULTS
  seed: int


def _sampler(sample: SampleFn, *discriminators: str) -> Callable[..., CaseData]:
  """Builds samples, and a discriminator of a kind chosen at random; '' for none."""

  def build(data: BenchmarkData, rng: Rng) -> CaseData:
    fake = sample(data, rng)
    kind = discriminators[int(rng.integers(len(discriminators)))]
    n = len(fake) // 2 if data.is_images else min(len(fake), 20_000)
    outputs = None
    if kind:
      outputs = benchmark_discriminators.train_and_apply_discriminator(
        data, kind, fake, int(rng.integers(1 << 30))
      )
    return CaseData(fake[:n], data.train, outputs)

  return build


def _copies(sample: SampleFn) -> Callable[..., CaseData]:
  def build(data: BenchmarkData, rng: Rng) -> CaseData:
    small = samplers.with_small_training_set(data, rng)
    return CaseData(sample(small, rng)[:20_000], small.train)

  return build


def _run(make_spec: Callable[[BenchmarkData, Rng], FaultyRunSpec]) -> Callable[..., CaseData]:
  def build(data: BenchmarkData, rng: Rng) -> CaseData:
    spec = make_spec(data, rng)
    run = faulty_runs.train_faulty_run(data, spec, int(rng.integers(1 << 30)))
    return CaseData(run.fake, run.train, run.outputs, run.history, run.losses)

  return build


def _vanished_gradients(data: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  settings: dict[str, Any] = {'loss': 'saturating', 'k': '2', 'd_lr': 2e-3, 'g_lr': 1e-4}
  return FaultyRunSpec(settings, 600, discriminator_head_start=600)


def _small_training_set(data: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  n = int(rng.integers(50, 200))
  return FaultyRunSpec({'k': '2', 'd_width': 128, 'd_lr': 1e-3}, 1000, n_train=n)


def _diverging(data: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  return FaultyRunSpec({'g_lr': rng.uniform(0.05, 0.3), 'd_lr': rng.uniform(0.02, 0.1)}, 600)


def _cycling(data: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  lr = rng.uniform(0.01, 0.03)
  settings = {'g_lr': lr, 'd_lr': lr, 'g_b1': 0.9, 'd_b1': 0.9, 'update': 'simultaneous'}
  return FaultyRunSpec(settings, 800)


def _half_trained(data: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  if data.is_images:
    preset = {'r1': 1.0, 'g_width': 0, 'd_width': 0, 'latent_size': 100, 'batch_size': 100}
    return FaultyRunSpec(preset, int(rng.integers(500, 800)))
  settings = {'loss': 'relativistic', 'r1': 0.01, 'r2': 0.01, 'batch_size': 256, 'g_b1': 0.0}
  settings |= {'d_b1': 0.0, 'g_lr': 1e-4, 'd_lr': 4e-4}
  return FaultyRunSpec(settings, int(rng.integers(250, 450)))


def _frozen_discriminator(data: BenchmarkData, rng: Rng) -> FaultyRunSpec:
  return FaultyRunSpec({'d_lr': 1e-9}, 500)


_POINTS = tuple(SYNTHETIC_DATASETS)
_SEPARABLE = ('ring', 'painter', *IMAGE_DATASETS)  # D can classify all samples of an untrained G
# The names are part of the seeds and of the files of cases.
FAULTS: dict[str, Fault] = {
  'perfect, without D': Fault(('converged',), _sampler(samplers.perfect_samples, '')),
  'perfect, D healthy': Fault(('converged',), _sampler(samplers.perfect_samples, 'healthy')),
  'perfect, D untrained': Fault(('converged',), _sampler(samplers.perfect_samples, 'untrained')),
  'perfect, D linear': Fault(('converged',), _sampler(samplers.perfect_samples, 'linear')),
  'noise': Fault(('G behind',), _sampler(samplers.noisy_samples, '', 'healthy')),
  'blur': Fault(('G behind',), _sampler(samplers.blurred_images, '', 'healthy'), IMAGE_DATASETS),
  'noise, D untrained': Fault(('D too weak',), _sampler(samplers.noisy_samples, 'untrained')),
  'noise, D linear': Fault(('D too weak',), _sampler(samplers.noisy_samples, 'linear'), _POINTS),
  'noise, D starved of steps': Fault(
    ('D too weak',), _sampler(samplers.noisy_samples, 'few steps')
  ),
  'noise, D knows its data by heart': Fault(
    ('D overfitted',), _sampler(samplers.noisy_samples, 'overfitted')
  ),
  'modes dropped': Fault(('mode collapse',), _sampler(samplers.dropped_modes, '', 'healthy')),
  'modes reweighted': Fault(('mode collapse',), _sampler(samplers.reweighted_modes, '', 'healthy')),
  'modes shrunk': Fault(('mode collapse',), _sampler(samplers.shrunken_modes, '', 'healthy')),
  'replay': Fault(('memorised training data',), _copies(samplers.training_copies)),
  'replay with jitter': Fault(('memorised training data',), _copies(samplers.jittered_copies)),
  'run starved of gradients': Fault(('D too strong',), _run(_vanished_gradients), _SEPARABLE),
  'run on a small set': Fault(
    ('D overfitted', 'memorised training data'), _run(_small_training_set), IMAGE_DATASETS
  ),
  'run with rates far too large': Fault(('diverged or cycling',), _run(_diverging)),
  'run that cycles': Fault(('diverged or cycling',), _run(_cycling), _POINTS),
  'run cut off half-way': Fault(('still improving',), _run(_half_trained)),
  'run with D frozen': Fault(('D too weak',), _run(_frozen_discriminator)),
}


def iterate_cases(seeds: int) -> Iterator[Case]:
  """Yields all cases by data set and seed; images, five times as costly, have half of the seeds."""
  for dataset in (*SYNTHETIC_DATASETS, *IMAGE_DATASETS):
    for seed in range(seeds if dataset in SYNTHETIC_DATASETS else seeds // 2):
      yield from (
        Case(dataset, name, seed) for name, fault in FAULTS.items() if dataset in fault.datasets
      )


def build_case(case: Case, data: BenchmarkData) -> CaseData:
  """Builds the referee's input, equal for equal cases."""
  rng = np.random.default_rng([crc32(f'{case.dataset} {case.fault}'.encode()), case.seed])
  return FAULTS[case.fault].build(data, rng)
