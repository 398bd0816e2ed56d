"""Discriminators of a known kind beside a planted sampler: healthy, linear, untrained, ..."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.referee_benchmark.benchmark_data import BenchmarkData
from gan_jax.diagnosis.discriminator_bound import DiscriminatorOutputs
from gan_jax.gan.networks.relu_mlp import Discriminator

_FEW = 100  # training examples that a D knows by heart
_SHOWN = 4000  # examples of each set whose outputs are handed out
_BATCH = 256
_WAVES = 7


def discriminator_inputs(world: BenchmarkData, x: np.ndarray) -> jax.Array:
  """Examples as D sees them: float32 [n, d] of a spread of about 1; points as waves of seven lengths too.

  A plain network would not see how wide a narrow mode is, and not be healthy.
  """
  flat = jnp.asarray(x.reshape(len(x), -1), jnp.float32)
  if world.is_images:
    return flat / 127.5 - 1
  flat = flat / float(world.train.std())
  waves = [wave(flat * math.pi * 2.0**i) for i in range(_WAVES) for wave in (jnp.sin, jnp.cos)]
  return jnp.concatenate([flat, *waves], axis=1)


@functools.partial(jax.jit, static_argnames=('network', 'steps'))
def _trained(
  key: jax.Array, network: Discriminator, real: jax.Array, fake: jax.Array, steps: int
) -> Any:
  tx = optax.adam(optax.cosine_decay_schedule(2e-3, max(steps, 1)))
  params = network.init(key, real[:1], None, False)

  def loss(params: Any, real: jax.Array, fake: jax.Array) -> jax.Array:
    ours, theirs = (jnp.asarray(network.apply(params, x, None, False)) for x in (real, fake))
    return jnp.mean(jax.nn.softplus(-ours)) + jnp.mean(jax.nn.softplus(theirs))

  def step(i: jax.Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
    params, opt_state = carry
    keys = jax.random.split(jax.random.fold_in(key, i))
    pick = [
      x[jax.random.randint(k, (_BATCH,), 0, len(x))]
      for k, x in zip(keys, (real, fake), strict=True)
    ]
    updates, opt_state = tx.update(jax.grad(loss)(params, *pick), opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  return jax.lax.fori_loop(0, steps, step, (params, tx.init(params)))[0]


def train_and_apply_discriminator(
  world: BenchmarkData, kind: str, fake: np.ndarray, seed: int
) -> DiscriminatorOutputs:
  """What such a D, of the non-saturating game, says of data and of `fake` [n, ...], half of it unseen."""
  depth, steps = {
    'healthy': (3, 800 if world.is_images else 2000),
    'linear': (0, 500),
    'untrained': (3, 0),
    'starved of steps': (3, 3),
    'by heart': (3, 1000 if world.is_images else 2000),
  }[kind]
  network = Discriminator(width=128, depth=depth)
  seen, unseen = fake[len(fake) // 2 :], fake[: len(fake) // 2][:_SHOWN]
  plain = kind not in ('healthy', 'by heart')
  inputs = lambda x: discriminator_inputs(world, x)[:, : math.prod(x.shape[1:]) if plain else None]
  train = inputs(world.train[: _FEW if kind == 'by heart' else None])
  params = _trained(jax.random.key(seed), network, train, inputs(seen), steps)
  look = lambda x: np.asarray(network.apply(params, x, None, False))
  held_out, theirs = (look(inputs(x[:_SHOWN])) for x in (world.held_out, unseen))
  slope = float(np.mean(1 / (1 + np.exp(theirs))))
  return DiscriminatorOutputs(look(train[:_SHOWN]), held_out, theirs, slope)
