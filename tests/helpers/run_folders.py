"""Writes a run folder of invented values, with each file that a report reads."""

import dataclasses
import json
import math

import numpy as np
from PIL import Image

from gan_jax.config.run_config import Config

HOSTILE = '"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(1)>'
VERDICT = {
  'verdict': 'D too weak',
  'confidence': 0.93,
  'facts': ['a fresh D finds 0.41 nats', 'the own D finds 0.02', 'coverage 0.9 (real 0.97)'],
  'advice': ['--k=2, or --k=auto: more updates of D', '--d_lr: raise it', 'more data'],
  'step': 40,
  'evidence': {
    'n': {'train': 1000, 'held_out': 500, 'fake': 500},
    'finite': 0.75,
    'ladder': [
      {
        'sigma': 0.0,
        'bound': 0.41,
        'low': 0.39,
        'high': 0.43,
        'chance': 0.002,
        'auc': 0.93,
        'p': 0.0,
      },
      {
        'sigma': 0.1,
        'bound': 0.2,
        'low': 0.18,
        'high': 0.22,
        'chance': 0.003,
        'auc': 0.8,
        'p': 1e-9,
      },
      {
        'sigma': 0.5,
        'bound': -0.01,
        'low': -0.02,
        'high': 0.01,
        'chance': 0.004,
        'auc': 0.5,
        'p': 0.4,
      },
    ],
    'probes': [
      {
        'name': 'convolutional, 8 channels',
        'bound': 0.41,
        'low': 0.39,
        'high': 0.43,
        'chance': 0.002,
        'auc': 0.93,
        'p': 1e-30,
      },
      {
        'name': HOSTILE,
        'bound': 0.25,
        'low': 0.22,
        'high': 0.28,
        'chance': 0.003,
        'auc': 0.81,
        'p': 1e-12,
      },
      {
        'name': 'trees on statistics of pixels',
        'bound': -0.001,
        'low': -0.003,
        'high': 0.001,
        'chance': 0.002,
        'auc': 0.51,
        'p': 0.31,
      },
    ],
    'test': {'p': 3e-30, 'detectable': 0.005},
    'parts': [
      {'name': 'fine detail', 'nats': 0.24, 'detail': 'only probes of whole images see it'},
      {
        'name': 'missing modes',
        'nats': 0.12,
        'detail': '20% of the data lie in cells without samples',
      },
      {'name': 'coarse structure', 'nats': 0.04, 'detail': 'probes of pooled pixels see it'},
    ],
    'copies': {
      'n_train': 1000,
      'exact': 0.2,
      'exact_held_out': 0.01,
      'near': 0.3,
      'near_held_out': 0.011,
      'p': 1e-6,
      'pairs': [[3, 5, 0.0, 'equal']],
    },
    'own': {'held_out': 0.02, 'train': 0.05, 'overfit': 0.6, 'mean_real': 0.51, 'mean_fake': 0.49},
    'histogram': {
      'edges': [-2, 0, 2, 4],
      'train': [1, 2, 3],
      'held_out': [2, 2, 2],
      'fake': [5, 1, 0],
    },
    'manifold': {'precision': 0.9, 'recall': 0.8, 'density': 1.0, 'coverage': 0.9},
    'manifold_null': {'precision': 0.95, 'recall': 0.94, 'density': 1.0, 'coverage': 0.97},
    'frechet': {'fake': 12.0, 'null': 1.0},
    'cells': {'real': [0.5, 0.3, 0.2], 'fake': [0.9, 0.1, 0.0], 'names': ['a', 'b', HOSTILE]},
    'memorisation': {'authentic': 60.0, 'copying': -1.2, 'near': 0.01},
    'memorisation_null': {'authentic': 62.0, 'copying': 0.1, 'near': 0.02},
    'gradient': {'slope': 0.5, 'norm': math.nan},
    'history': {'steps': [20, 40], 'score': [0.3, 0.2], 'drift': [0.5, 0.1], 'best': 0.2},
  },
  'protocol': {'n_fake': 500, 'split': 'test', 'sha256': {'fake': 'f' * 64}, 'seed': 0},
}
# As an earlier version wrote it.
EARLIER_EVIDENCE = {
  name: x
  for name, x in VERDICT['evidence'].items()
  if name not in ('finite', 'probes', 'test', 'parts', 'copies')
} | {
  'finite': True,
  'ladder': [
    {'sigma': 0.0, 'bound': 0.41, 'low': 0.39, 'high': 0.43, 'null': 0.001, 'null_high': 0.004},
    {'sigma': 0.1, 'bound': 0.2, 'low': 0.18, 'high': 0.22},
    {'sigma': 0.5, 'bound': -0.01, 'low': -0.02, 'high': 0.01},
  ],
  'c2st': {'accuracy': 0.91, 'p': 1e-30, 'n': 4000},
}
RECORDS = [
  *(
    {
      'step': step,
      'd_loss': 1.4 - step / 100,
      'g_loss': 0.7,
      'd_real': 0.6,
      'd_fake': 0.4,
      'k': 1.0,
    }
    | {'d_penalty': 0.01 * step, 'steps_per_second': 50.0}
    for step in range(1, 41, 3)
  ),
  {'step': 20, 'validation_frechet_raw': 5.0, 'validation_frechet_ema': 4.0, 'score': -4.0},
  {'step': 30, 'alarm': 'collapse', 'says': 'G makes few things only'},
  {'step': 40, 'validation_frechet_raw': 9.0, 'validation_frechet_ema': 8.0, 'score': -8.0},
]
EVALUATION = {
  'checkpoint': 40,
  'protocol': {'dataset': 'mnist', 'seed': 0},
  'parzen': {'ema': {'mean': 210.0, 'standard_error': 2.0}, 'raw': {'mean': math.nan}},
  'references': {'noise': {'mean': -628.0, 'standard_error': 0.1}, 'real': {'mean': 243.0}},
  'features': {name: {'frechet': 3.0, 'recall': 0.5} for name in ('raw', 'ema', 'train', 'fresh')},
  'class_shares': [0.5, 0.5],
  'modes': {},
  'watched': {'raw': {'d_loss': 1.3}, 'ema': {'d_loss': 1.2}},
}
PARTS = ('config.json', 'metrics.jsonl', 'referee.json', 'evaluation_test_00000040.json', 'samples')


def write_run(folder):
  """Writes a run folder with each file that a report reads."""
  (folder / 'samples').mkdir(parents=True)
  described = {
    'flags': dataclasses.asdict(Config(d_lr=1e-3, conditional=True, steps=60)),
    'data': 'a' * 64,
    'ran_on': [{'commit': 'b' * 40 + '-dirty', 'devices': '1 x cpu', 'versions': {'jax': '0.10'}}],
  }
  (folder / 'config.json').write_text(json.dumps(described))
  (folder / 'metrics.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in RECORDS))
  (folder / 'referee.json').write_text(json.dumps(VERDICT))
  (folder / 'evaluation_test_00000040.json').write_text(json.dumps(EVALUATION))
  names = (
    'grid_00000020',
    *(f'{x}_00000040' for x in ('grid', 'neighbours', 'difference', 'copies')),
  )
  for i, name in enumerate(names):
    write_picture(folder / 'samples' / f'{name}.png', 20 + i)


def write_picture(path, side):
  """Writes a PNG of noise, `side` x `side` pixels."""
  pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
  Image.fromarray(pixels).save(path)


def update_json(folder, name, **values):
  """Replaces entries of the JSON object in a file."""
  path = folder / name
  path.write_text(json.dumps(json.loads(path.read_text()) | values))
