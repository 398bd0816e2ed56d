"""Draws Figure 1 of Goodfellow et al. (2014) from the training of a GAN on a Gaussian.

  python -m experiments.figure1 --output=figure1.png

Trains for some seconds. Each panel shows the density p of the data (dotted), q of the samples
(solid), D (dashed) beside the optimal D*(x) = p / (p + q) (thin), and below them the map from z to
G(z). After training D is 1/2 wherever p is positive.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from gan_jax.config.run_config import Config
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.evaluation import plots, sampling, tasks
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.train_step import run_steps
from gan_jax.training.train_spec import build_train_spec

from . import command_line

_OUTPUT = flags.DEFINE_string('output', 'figure1.png', 'PNG file to write.')
_SEED = command_line.define_seed_flag('Seed of the training.')
_STEPS = (10, 100, 300, 1000, 4000)
_LOW, _HIGH, _CELLS = -2.0, 3.0, 200


def main(argv: list[str]) -> None:
  """Trains a GAN and draws a panel at each of `_STEPS`."""
  del argv
  config = Config(
    dataset='gaussian', network='relu', g_width=64, d_width=64, latent='uniform', latent_size=1,
    loss='non_saturating', r1=0.05, k='2', batch_size=512, g_lr=1e-3, d_lr=2e-3,
    g_schedule='cosine', d_schedule='cosine', steps=_STEPS[-1], seed=_SEED.value,
  )  # fmt: skip
  task = tasks.load_task(config)
  spec = build_train_spec(config, task)
  key = jax.random.key(config.seed)
  state = gan_lib.init(spec.gan, jax.random.fold_in(key, 0), jnp.zeros((1, 1)))
  advance = jax.jit(functools.partial(run_steps, spec))
  panels, last_step = [], 0
  for step in _STEPS:
    state, _ = advance(key, state, task.training_data(held_out=False), np.int32(step - last_step))
    last_step = step
    panels.append(_panel(spec.gan, state))
  path = Path(_OUTPUT.value)
  plots.plot_figure_1(path, _STEPS, panels)
  error = np.mean(np.abs(panels[-1]['d'] - 0.5) * panels[-1]['p']) / np.mean(panels[-1]['p'])
  print(f'{path}: at step {last_step}, mean |D(x) - 1/2| over the data is {error:.3f}')


def _panel(gan: gan_lib.Gan, state: gan_lib.GanState) -> dict[str, Any]:
  """Returns the densities and D over an interval, and G at a row of latents."""
  edges = np.linspace(_LOW, _HIGH, _CELLS + 1)
  x = (edges[1:] + edges[:-1]) / 2
  fakes = sampling.generate_samples(
    gan, state.g.weights, sampling.fixed_latents(gan.latent, 0, 200_000)
  )
  counts, _ = np.histogram(fakes[:, 0], edges)
  log_density = SYNTHETIC['gaussian'].log_density
  assert log_density is not None
  p = np.exp(np.asarray(jax.vmap(log_density)(jnp.asarray(x)[:, None])))
  q = counts / len(fakes) / (edges[1] - edges[0])
  logits = gan_lib.logits(gan, state.d.weights, jnp.asarray(x, jnp.float32)[:, None])
  z = jnp.linspace(-(3**0.5), 3**0.5, 25)[:, None]
  return {
    'x': x,
    'p': p,
    'q': q,
    'd': np.asarray(jax.nn.sigmoid(logits)),
    'best': p / np.maximum(p + q, 1e-12),
    'z': np.asarray(z[:, 0]),
    'g': np.asarray(gan_lib.sample(gan, state.g.weights, z))[:, 0],
  }


if __name__ == '__main__':
  command_line.run_script(main)
