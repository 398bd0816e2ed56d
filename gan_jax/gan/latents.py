"""Samples and interpolates latents: priors p(z) with unit variance in every coordinate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


def _uniform(key: Array, size: int) -> Array:
  bound = 3.0**0.5
  return jax.random.uniform(key, (size,), minval=-bound, maxval=bound)


def _normal(key: Array, size: int) -> Array:
  return jax.random.normal(key, (size,))


def _sphere(key: Array, size: int) -> Array:
  direction = jax.random.normal(key, (size,))
  return direction * (size**0.5 / jnp.linalg.norm(direction))


def _binary(key: Array, size: int) -> Array:
  return jax.random.rademacher(key, (size,), jnp.float32)


LATENTS = {'uniform': _uniform, 'normal': _normal, 'sphere': _sphere, 'binary': _binary}


class Latent(NamedTuple):
  """Holds a prior's name, a key of `LATENTS`, and its number of dimensions."""

  name: str
  size: int


def sample_latents(latent: Latent, keys: Array) -> Array:
  """Draws one latent per key: [n] keys to latents [n, size]."""
  return jax.vmap(lambda key: LATENTS[latent.name](key, latent.size))(keys)


def truncate_latents(latents: Array, bound: float) -> Array:
  """Maps normal latents [n, size] to normal ones truncated to [-bound, bound], quantile by quantile.

  The truncated prior of Brock et al. (2019), who draw values outside the bound again. A map keeps each sample
  recognisable: as the bound grows the latents become those of the prior.
  """
  root = jnp.sqrt(2.0)
  inside = jax.scipy.special.erf(bound / root)
  truncated = root * jax.scipy.special.erfinv(jax.scipy.special.erf(latents / root) * inside)
  return jnp.clip(truncated, -bound, bound)


def interpolate_latents(latent: Latent, start: Array, end: Array, n: int) -> Array:
  """Returns a path of n latents [n, size] from `start` to `end` [size] through regions likely under the prior.

  Uniform: a straight line. Binary: one coordinate after another flips. Normal and sphere: a great circle
  (White, 2016), as the middle of a straight line is shorter than the latents of training.
  """
  t = jnp.linspace(0.0, 1.0, n)[:, None]
  if latent.name == 'binary':
    thresholds = (jnp.arange(latent.size) + 0.5) / latent.size
    return jnp.where(t > thresholds[None], end[None], start[None])
  if latent.name == 'uniform':
    return (1 - t) * start[None] + t * end[None]
  cosine = jnp.dot(start, end) / (jnp.linalg.norm(start) * jnp.linalg.norm(end))
  angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
  # For parallel latents the limit of the great circle is the straight line.
  weights = jnp.where(
    angle > 1e-4, jnp.sin(jnp.stack([1 - t, t]) * angle) / jnp.sin(angle), jnp.stack([1 - t, t])
  )
  return weights[0] * start[None] + weights[1] * end[None]
