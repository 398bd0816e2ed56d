"""Lists the real runs of the benchmark: healthy ones, and ones that their own settings make sick.

A third of the kinds of fault is held out: nothing may be tuned on them. Of the other kinds, runs of even seeds
are for tuning and runs of odd seeds for testing.
"""

import hashlib
from typing import Any, NamedTuple

import numpy as np

HELD_OUT_KINDS = frozenset(
  {'few_d_updates', 'both_lr_high', 'penalty_high', 'momentum', 'g_narrow', 'batch_small', 'simultaneous'}
)  # fmt: skip
HEALTHY = ('healthy', 'healthy_long')


class World(NamedTuple):
  """Holds the data of some runs and the settings of a healthy one."""

  settings: dict[str, Any]  # fields of Config
  kinds: tuple[str, ...]  # of its runs, in this order


class RealRun(NamedTuple):
  """Holds the settings of a run, the kind of its fault, and which half of the benchmark it belongs to."""

  name: str  # also of its folder
  world: str
  kind: str  # a key of FAULTS, or of HEALTHY
  seed: int
  settings: dict[str, Any]  # fields of Config
  fork_steps: (
    int  # of a fork that goes on unchanged: as long as a healthy run, of large images a third
  )

  @property
  def held_out_kind(self) -> bool:
    """Returns whether no run of this kind may be used for tuning."""
    return self.kind in HELD_OUT_KINDS

  @property
  def half(self) -> str:
    """Returns 'tune' or 'test'."""
    return 'test' if self.held_out_kind or self.seed % 2 else 'tune'


_POINTS = {
  **dict(network='relu', latent='normal', latent_size=4, batch_size=64, g_width=64, d_width=64),
  **dict(g_lr=1e-3, d_lr=1e-3, r1=0.1, ema_decay=0.99, steps=2400),
}
_IMAGES_8 = {
  **dict(network='mlp', latent_size=32, batch_size=32, g_width=96, d_width=24, image_size=8),
  **dict(g_lr=1e-3, d_lr=1e-3, r1=0.1, ema_decay=0.99, steps=1600),
}
_IMAGES_28 = _IMAGES_8 | dict(image_size=0, g_width=96, d_width=20, r1=1.0, steps=1200)
_CONV_28 = _IMAGES_28 | dict(network='dcgan', g_width=6, d_width=6, g_norm='none', steps=500)
_EMOJI = _IMAGES_28 | dict(image_size=32, g_width=96, d_width=16)
_RATES = ('g_lr_high', 'd_lr_high', 'g_lr_low', 'd_lr_low', 'both_lr_high', 'both_lr_low')
_FEW = 'few_data'

# The images of the folders are random training images of MNIST and Fashion-MNIST, and the emoji of the npm
# package emoji-datasource-twitter (MIT; graphics by Twitter, CC-BY 4.0).
WORLDS: dict[str, World] = {
  'ring': World(
    _POINTS | dict(dataset='ring'),
    (
      *('healthy', 'd_lr_low', 'g_lr_high', 'few_d_updates', 'd_narrow', 'no_penalty', 'both_lr_low'),
      *('momentum', 'saturating', 'random', 'healthy_long', 'latent_small'),
    ),
  ),
  'grid': World(
    _POINTS | dict(dataset='grid'),
    (
      *('healthy', 'd_lr_high', 'both_lr_high', 'g_narrow', 'g_lr_low', 'penalty_high', 'too_short'),
      *('d_narrow', 'random', 'many_d_updates', 'batch_small', 'd_lr_low'),
    ),
  ),
  'moons': World(
    _POINTS | dict(dataset='moons'),
    (
      *('healthy', 'g_lr_high', 'd_lr_low', 'simultaneous', 'penalty_high', 'no_penalty', 'random'),
      *('many_d_updates', 'g_narrow', 'healthy_long', 'both_lr_high', 'too_short'),
    ),
  ),
  'spiral': World(
    _POINTS | dict(dataset='spiral'),
    (
      *('healthy', 'g_lr_low', 'd_narrow', 'momentum', 'd_lr_high', 'few_d_updates', 'both_lr_low'),
      *('random', 'saturating', 'simultaneous', 'g_lr_high'),
    ),
  ),
  'painter': World(
    _POINTS | dict(dataset='painter'),
    ('healthy', 'd_lr_low', 'both_lr_high', 'g_lr_high', 'd_narrow', 'random', 'penalty_high'),
  ),
  'mnist_8': World(
    _IMAGES_8 | dict(dataset='mnist'),
    (
      *('healthy', 'd_narrow', 'g_lr_high', 'd_lr_high', 'g_narrow', 'both_lr_low', 'momentum'),
      *('no_penalty', 'latent_small', 'batch_small', 'random', 'saturating'),
    ),
  ),
  'fashion_8': World(
    _IMAGES_8 | dict(dataset='fashion_mnist'),
    ('healthy', 'd_lr_low', 'g_lr_low', 'penalty_high', 'both_lr_high', 'random', 'too_short'),
  ),
  'few_digits_8': World(
    _IMAGES_8 | dict(dataset='folder:digits_1000', d_width=48), (_FEW, 'few_data_no_penalty', _FEW)
  ),
  'mnist_28': World(
    _IMAGES_28 | dict(dataset='mnist'),
    (
      *('healthy', 'd_lr_low', 'g_lr_high', 'd_narrow', 'both_lr_high', 'few_d_updates', 'too_short'),
      *('d_lr_high', 'random'),
    ),
  ),
  'fashion_28': World(
    _IMAGES_28 | dict(dataset='fashion_mnist'),
    ('healthy', 'g_lr_low', 'no_penalty', 'penalty_high', 'd_lr_high', 'latent_small', 'both_lr_low'),
  ),
  'few_clothes_28': World(
    _IMAGES_28 | dict(dataset='folder:clothes_3000'), (_FEW, 'few_data_no_penalty')
  ),
  'few_digits_28': World(
    _IMAGES_28 | dict(dataset='folder:digits_1000'), (_FEW, 'few_data_no_penalty')
  ),
  'stacked_28': World(
    _IMAGES_28 | dict(dataset='stacked_mnist'), ('healthy', 'd_lr_low', 'g_lr_high', 'both_lr_high')
  ),
  'mnist_conv_28': World(_CONV_28 | dict(dataset='mnist'), ('healthy', 'd_lr_low', 'both_lr_high')),
  'emoji_32': World(
    _EMOJI | dict(dataset='folder:emoji'), ('few_data', 'd_lr_low', 'both_lr_high', 'few_data_no_penalty')
  ),
}  # fmt: skip

# Rounds by which runs come later whose programs are their own: each takes a minute to compile.
_OWN_PROGRAMS = {
  *('stacked_28', 'mnist_conv_28', 'emoji_32'),
  *('d_narrow', 'g_narrow', 'no_penalty', 'few_data_no_penalty', 'many_d_updates', 'saturating'),
  *('latent_small', 'simultaneous', 'batch_small'),
}
_DELAY = 6


def _draw_fault(kind: str, base: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
  """Returns the settings that make a run sick; strengths are drawn log-uniformly."""
  between = lambda low, high: float(np.exp(random.uniform(np.log(low), np.log(high))))
  scaled = lambda name, factor: {name: base[name] * factor}
  faults: dict[str, Any] = {
    'g_lr_high': lambda: scaled('g_lr', between(4, 16)),
    'd_lr_high': lambda: scaled('d_lr', between(5, 25)),
    'g_lr_low': lambda: scaled('g_lr', 1 / between(5, 20)),
    'd_lr_low': lambda: scaled('d_lr', 1 / between(5, 25)),
    'both_lr_low': lambda: dict.fromkeys(('g_lr', 'd_lr'), base['g_lr'] / between(5, 20)),
    'both_lr_high': lambda: dict.fromkeys(('g_lr', 'd_lr'), base['g_lr'] * between(5, 16)),
    'many_d_updates': lambda: {'k': str(random.integers(5, 9)), 'r1': 0.0},
    'few_d_updates': lambda: {'k': '0.25', 'd_lr': base['d_lr'] / between(1, 4)},
    'd_narrow': lambda: {'d_width': 3 if base['network'] == 'mlp' else 8},
    'g_narrow': lambda: {'g_width': 6},
    'no_penalty': lambda: {'r1': 0.0, 'd_lr': base['d_lr'] * between(1, 3)},
    'penalty_high': lambda: scaled('r1', between(50, 1000)),
    'momentum': lambda: {'g_b1': 0.9, 'd_b1': 0.9, 'g_lr': base['g_lr'] * between(1, 3)},
    'latent_small': lambda: {'latent_size': 1},
    'too_short': lambda: {'steps': int(base['steps'] / between(4, 10))},
    'saturating': lambda: {'loss': 'saturating', 'd_lr': base['d_lr'] * between(2, 6)},
    'batch_small': lambda: {'batch_size': 8},
    'simultaneous': lambda: {'update': 'simultaneous', 'g_lr': base['g_lr'] * between(1, 4)},
    _FEW: dict,
    'few_data_no_penalty': lambda: {'r1': 0.0},
    'random': lambda: {
      'g_lr': base['g_lr'] * between(0.1, 10),
      'd_lr': base['d_lr'] * between(0.1, 10),
      'k': str(random.choice(['0.5', '1', '2', '4'])),
      'r1': base['r1'] * between(0.03, 30),
      **dict.fromkeys(('g_b1', 'd_b1'), float(random.choice([0.0, 0.5, 0.8]))),
    },
    'healthy': dict,
    'healthy_long': lambda: {'steps': 4 * base['steps'], 'g_lr': base['g_lr'] / 2},
  }
  return faults[kind]()


def list_real_runs(data: str) -> list[RealRun]:
  """Returns all runs in the order in which they are to be computed: any first part of it is balanced.

  `data` is the folder that holds the folders of images.
  """
  runs: list[tuple[int, RealRun]] = []
  times: dict[str, int] = {}
  longest = max(len(world.kinds) for world in WORLDS.values())
  for i in range(longest):
    for name, world in WORLDS.items():
      if i < len(world.kinds):
        kind = world.kinds[i]
        seed = times[kind] = times.get(kind, -1) + 1
        delay = _DELAY if _OWN_PROGRAMS & {name, kind} else 0
        runs.append((i + delay, _make_run(name, world, kind, seed, data)))
  return [run for _, run in sorted(runs, key=lambda pair: pair[0])]


def _make_run(name: str, world: World, kind: str, seed: int, data: str) -> RealRun:
  run = f'{name}-{kind}-{seed}'
  digest = hashlib.sha256(run.encode()).digest()
  base = dict(world.settings)
  if base['dataset'].startswith('folder:'):
    base['dataset'] = f'folder:{data}/{base["dataset"].removeprefix("folder:")}'
  fault = _draw_fault(kind, base, np.random.default_rng(list(digest)))
  steps = fault.get('steps', base['steps'])
  intervals = {
    **dict(log_every=max(steps // 40, 1), referee_every=max(steps // 10, 1)),
    **dict(eval_every=max(steps // 4, 1), checkpoint_every=steps),
  }
  large = name.endswith(('_28', '_32'))
  settings = base | fault | intervals | {'seed': seed}
  return RealRun(run, name, kind, seed, settings, base['steps'] // (3 if large else 1))
