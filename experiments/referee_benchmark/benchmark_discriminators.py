"""Trains discriminators of a known kind on data and given samples: healthy, linear, untrained, ..."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax.diagnosis.discriminator_calibration import DiscriminatorOutputs
from gan_jax.gan.networks.relu_mlp import Discriminator

from .benchmark_data import BenchmarkData

_N_OVERFITTED = 100  # training examples of an overfitted discriminator
_N_OUTPUTS = 4000  # examples of each set
_BATCH = 256
_N_FREQUENCIES = 7


def discriminator_inputs(data: BenchmarkData, x: np.ndarray) -> jax.Array:
  """Flattens and scales examples to float32 [n, d]; points get Fourier features of seven octaves.

  Without these features a ReLU network cannot measure the width of a narrow mode.
  """
  flat = jnp.asarray(x.reshape(len(x), -1), jnp.float32)
  if data.is_images:
    return flat / 127.5 - 1
  flat = flat / float(data.train.std())
  waves = [
    wave(flat * math.pi * 2.0**i) for i in range(_N_FREQUENCIES) for wave in (jnp.sin, jnp.cos)
  ]
  return jnp.concatenate([flat, *waves], axis=1)


@functools.partial(jax.jit, static_argnames=('network', 'steps'))
def _train(
  key: jax.Array, network: Discriminator, real: jax.Array, fake: jax.Array, steps: int
) -> Any:
  tx = optax.adam(optax.cosine_decay_schedule(2e-3, max(steps, 1)))
  params = network.init(key, real[:1], None, False)

  def loss(params: Any, real: jax.Array, fake: jax.Array) -> jax.Array:
    on_real, on_fake = (jnp.asarray(network.apply(params, x, None, False)) for x in (real, fake))
    return jnp.mean(jax.nn.softplus(-on_real)) + jnp.mean(jax.nn.softplus(on_fake))

  def step(i: jax.Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
    params, opt_state = carry
    keys = jax.random.split(jax.random.fold_in(key, i))
    batches = [
      x[jax.random.randint(k, (_BATCH,), 0, len(x))]
      for k, x in zip(keys, (real, fake), strict=True)
    ]
    updates, opt_state = tx.update(jax.grad(loss)(params, *batches), opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  return jax.lax.fori_loop(0, steps, step, (params, tx.init(params)))[0]


def train_and_apply_discriminator(
  data: BenchmarkData, kind: str, fake: np.ndarray, seed: int
) -> DiscriminatorOutputs:
  """Trains a discriminator with the second half of `fake` [n, ...]; returns outputs on the first half."""
  depth, steps = {
    'healthy': (3, 800 if data.is_images else 2000),
    'linear': (0, 500),
    'untrained': (3, 0),
    'few steps': (3, 3),
    'overfitted': (3, 1000 if data.is_images else 2000),
  }[kind]
  network = Discriminator(width=128, depth=depth)
  fake_train, fake_test = fake[len(fake) // 2 :], fake[: len(fake) // 2][:_N_OUTPUTS]
  plain = kind not in ('healthy', 'overfitted')  # without Fourier features
  inputs = lambda x: discriminator_inputs(data, x)[:, : math.prod(x.shape[1:]) if plain else None]
  train = inputs(data.train[: _N_OVERFITTED if kind == 'overfitted' else None])
  params = _train(jax.random.key(seed), network, train, inputs(fake_train), steps)
  logits = lambda x: np.asarray(network.apply(params, x, None, False))
  on_held_out, on_fake = (logits(inputs(x[:_N_OUTPUTS])) for x in (data.held_out, fake_test))
  slope = float(np.mean(1 / (1 + np.exp(on_fake))))  # of the non-saturating loss
  return DiscriminatorOutputs(logits(train[:_N_OUTPUTS]), on_held_out, on_fake, slope)
