"""What a loop can afford to ask while it trains: a few numbers on a few hundred held-out examples."""

import jax
import jax.numpy as jnp

from gan_jax.data.device_batches import Batch, DeviceData
from gan_jax.distributed.randomness import example_keys
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import Gan, GanState, Metrics
from gan_jax.gan.latents import sample_latents
from gan_jax.gan.train_step import TrainSpec
from gan_jax.metrics.nearest_neighbours import squared_distances

KEY_SALT = 0x10DC  # keeps looks apart from everything that training draws
N_EXAMPLES = 512  # training examples, held-out examples and samples of one look


def split_monitor_key(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Those of a look's training examples, held-out examples and latents."""
  train_key, held_out_key, latent_key = jax.random.split(key, 3)
  return train_key, held_out_key, latent_key


def compute_monitors(
  recipe: TrainSpec, key: jax.Array, state: GanState, data: DeviceData
) -> Metrics:
  """`signals` on the first N examples and latents of `key`: the same ones at every look."""
  train_key, held_out_key, latent_key = split_monitor_key(key)
  positions = jnp.arange(N_EXAMPLES, dtype=jnp.uint32)
  train = recipe.train_examples(train_key, positions, data.train)
  held_out = recipe.held_out_examples(held_out_key, positions, data.held_out)
  return monitors_of_batches(recipe.gan, latent_key, state, train, held_out)


def monitors_of_batches(
  gan: Gan, key: jax.Array, state: GanState, train: Batch, held_out: Batch
) -> Metrics:
  """Watch a state, by n training and n held-out examples and as many samples; scalars named watch_*.

  gap      energy distance of samples to held-out data, over the data's mean distance: 0 for equal ones
  near     how much farther nearest neighbours are between samples and held-out examples, either way, than
           between training and held-out ones: 0 for a perfect sampler, and sharp where `gap` is blind
  spread   mean distance of two samples, over that of two examples: 0 where G makes one thing only
  drift    distance of G to its moving average at the same latents, in the same unit
  slope    mean |d loss / d output| of G's loss: 0 where G is starved
  own      probability that D ranks a held-out example above a sample: 1/2 where it knows nothing
  overfit  probability that D ranks a training example above a held-out one: 1/2 where it learned none by heart
  """
  n = held_out.images.shape[0]
  latents = sample_latents(gan.latent, example_keys(key, n, None))
  fake = gan_lib.sample(gan, state.g.weights, latents, held_out.labels)
  average = gan_lib.sample(gan, state.g_ema, latents, held_out.labels)
  rows = lambda x: x.reshape(n, -1).astype(jnp.float32)
  fresh, made = rows(held_out.images), rows(fake)
  apart = jnp.sqrt(squared_distances(fresh, made))
  between, inside = jnp.mean(apart), _inside(made)
  unit = jnp.maximum(_inside(fresh), 1e-12)
  alike = jnp.sqrt(squared_distances(fresh, rows(train.images)))
  judged = [
    gan_lib.logits(gan, state.d.weights, x, labels)
    for x, labels in (
      (train.images, train.labels),
      (held_out.images, held_out.labels),
      (fake, held_out.labels),
    )
  ]
  return {
    'watch_gap': (2 * between - inside - unit) / unit,
    'watch_near': _nearest(apart) / jnp.maximum(_nearest(alike), 1e-12) - 1,
    'watch_spread': inside / unit,
    'watch_drift': jnp.mean(jnp.linalg.norm(made - rows(average), axis=1)) / unit,
    'watch_slope': generator_loss_slope(gan, judged[1], judged[2]),
    'watch_own': _above(judged[1], judged[2]),
    'watch_overfit': _above(judged[0], judged[1]),
  }


def generator_loss_slope(gan: Gan, real: jax.Array, fake: jax.Array) -> jax.Array:
  """Mean |d loss of G / d output| over samples whose outputs are `fake` [n], beside data's `real` [n]."""
  return jnp.sum(jnp.abs(jax.grad(gan.loss.generator, argnums=1)(real, fake)))


def _nearest(apart: jax.Array) -> jax.Array:
  """Mean distance to the nearest of the other set, of both; `apart` [n, m] are distances between them."""
  return (jnp.mean(apart.min(axis=0)) + jnp.mean(apart.min(axis=1))) / 2


def _inside(a: jax.Array) -> jax.Array:
  """Mean distance of two different rows of a [n, d]."""
  n = a.shape[0]
  # A row's distance to itself is 0, but for what rounding leaves of it.
  apart = jnp.sqrt(squared_distances(a, a)) * (1 - jnp.eye(n))
  return jnp.sum(apart) / (n * (n - 1))


def _above(a: jax.Array, b: jax.Array) -> jax.Array:
  """The probability that a number of `a` [n] exceeds one of `b` [m]; ties count half."""
  return jnp.mean((jnp.sign(a[:, None] - b[None]) + 1) / 2)
