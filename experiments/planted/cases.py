"""The faults by name, where they can be planted, and which verdicts are right about them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from experiments.planted import critics, samplers, training
from experiments.planted.samplers import Rng
from experiments.planted.training import Plan
from experiments.planted.worlds import GAME_WORLDS, IMAGE_WORLDS, World
from gan_jax.diagnosis.diagnostic_statistics import History
from gan_jax.diagnosis.discriminator_bound import Outputs


class Made(NamedTuple):
  """What the referee is shown."""

  fake: np.ndarray
  train: np.ndarray
  outputs: Outputs | None = None
  history: History | None = None
  losses: np.ndarray | None = None  # of D and of G over the run [looks, 2]


class Kind(NamedTuple):
  """A fault: the verdicts that are right about it, the first of which it is counted under."""

  right: tuple[str, ...]
  make: Callable[[World, Rng], Made]
  where: tuple[str, ...] = (*GAME_WORLDS, *IMAGE_WORLDS)


class Case(NamedTuple):
  """One planted fault."""

  world: str
  kind: str
  seed: int


def _sampler(sample: Callable[[World, Rng], np.ndarray], *critic: str) -> Callable[..., Made]:
  """Samples beside one of these kinds of D, drawn by chance; '' for none."""

  def make(world: World, rng: Rng) -> Made:
    fake = sample(world, rng)
    kind = critic[int(rng.integers(len(critic)))]
    n = len(fake) // 2 if world.is_images else min(len(fake), 20_000)
    outputs = critics.outputs(world, kind, fake, int(rng.integers(1 << 30))) if kind else None
    return Made(fake[:n], world.train, outputs)

  return make


def _replay(sample: Callable[[World, Rng], np.ndarray]) -> Callable[..., Made]:
  def make(world: World, rng: Rng) -> Made:
    part = samplers.small_part(world, rng)
    return Made(sample(part, rng)[:20_000], part.train)

  return make


def _run(plan: Callable[[World, Rng], Plan]) -> Callable[..., Made]:
  def make(world: World, rng: Rng) -> Made:
    run = training.run(world, plan(world, rng), int(rng.integers(1 << 30)))
    return Made(run.fake, run.train, run.outputs, run.history, run.losses)

  return make


def _starved(world: World, rng: Rng) -> Plan:
  settings: dict[str, Any] = {'loss': 'saturating', 'k': '2', 'd_lr': 2e-3, 'g_lr': 1e-4}
  return Plan(settings, 600, head_start=600)


def _small_set(world: World, rng: Rng) -> Plan:
  n = int(rng.integers(50, 200))
  return Plan({'k': '2', 'd_width': 128, 'd_lr': 1e-3}, 1000, n_train=n)


def _diverging(world: World, rng: Rng) -> Plan:
  return Plan({'g_lr': rng.uniform(0.05, 0.3), 'd_lr': rng.uniform(0.02, 0.1)}, 600)


def _cycling(world: World, rng: Rng) -> Plan:
  lr = rng.uniform(0.01, 0.03)
  return Plan({'g_lr': lr, 'd_lr': lr, 'g_b1': 0.9, 'd_b1': 0.9, 'update': 'simultaneous'}, 800)


def _half_trained(world: World, rng: Rng) -> Plan:
  if world.is_images:
    preset = {'r1': 1.0, 'g_width': 0, 'd_width': 0, 'latent_size': 100, 'batch_size': 100}
    return Plan(preset, int(rng.integers(500, 800)))
  settings = {'loss': 'relativistic', 'r1': 0.01, 'r2': 0.01, 'batch_size': 256, 'g_b1': 0.0}
  return Plan(settings | {'d_b1': 0.0, 'g_lr': 1e-4, 'd_lr': 4e-4}, int(rng.integers(250, 450)))


def _with_frozen_critic(world: World, rng: Rng) -> Plan:
  return Plan({'d_lr': 1e-9}, 500)


_GAMES = tuple(GAME_WORLDS)
_APART = ('ring', 'painter', *IMAGE_WORLDS)  # where D can be right about every first sample
KINDS: dict[str, Kind] = {
  'perfect, without D': Kind(('converged',), _sampler(samplers.perfect, '')),
  'perfect, D healthy': Kind(('converged',), _sampler(samplers.perfect, 'healthy')),
  'perfect, D untrained': Kind(('converged',), _sampler(samplers.perfect, 'untrained')),
  'perfect, D linear': Kind(('converged',), _sampler(samplers.perfect, 'linear')),
  'noise': Kind(('G behind',), _sampler(samplers.noisy, '', 'healthy')),
  'blur': Kind(('G behind',), _sampler(samplers.blurred, '', 'healthy'), IMAGE_WORLDS),
  'noise, D untrained': Kind(('D too weak',), _sampler(samplers.noisy, 'untrained')),
  'noise, D linear': Kind(('D too weak',), _sampler(samplers.noisy, 'linear'), _GAMES),
  'noise, D starved of steps': Kind(('D too weak',), _sampler(samplers.noisy, 'starved of steps')),
  'noise, D knows its data by heart': Kind(('D overfitted',), _sampler(samplers.noisy, 'by heart')),
  'modes dropped': Kind(('mode collapse',), _sampler(samplers.dropping, '', 'healthy')),
  'modes reweighted': Kind(('mode collapse',), _sampler(samplers.uneven, '', 'healthy')),
  'modes shrunk': Kind(('mode collapse',), _sampler(samplers.shrunken, '', 'healthy')),
  'replay': Kind(('memorised training data',), _replay(samplers.replayed)),
  'replay with jitter': Kind(('memorised training data',), _replay(samplers.jittered)),
  'run starved of gradients': Kind(('D too strong',), _run(_starved), _APART),
  'run on a small set': Kind(
    ('D overfitted', 'memorised training data'), _run(_small_set), IMAGE_WORLDS
  ),
  'run with rates far too large': Kind(('diverged or cycling',), _run(_diverging)),
  'run that cycles': Kind(('diverged or cycling',), _run(_cycling), _GAMES),
  'run cut off half-way': Kind(('still improving',), _run(_half_trained)),
  'run with D frozen': Kind(('D too weak',), _run(_with_frozen_critic)),
}


def cases(seeds: int) -> Iterator[Case]:
  """All of them, world by world and seed by seed; images, which cost five times as much, for half the seeds."""
  for world in (*GAME_WORLDS, *IMAGE_WORLDS):
    for seed in range(seeds if world in GAME_WORLDS else seeds // 2):
      yield from (Case(world, name, seed) for name, kind in KINDS.items() if world in kind.where)


def make(case: Case, world: World) -> Made:
  """Plant the fault; the same for the same case."""
  rng = np.random.default_rng([crc32(f'{case.world} {case.kind}'.encode()), case.seed])
  return KINDS[case.kind].make(world, rng)
