"""Where weights may go: what is done to a player's parameters after each of its updates."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any
Projection = Callable[[PyTree], PyTree]


def clip(bound: float | jax.Array) -> Projection:
  """Every parameter into [-bound, bound]: the weight clipping of Arjovsky et al. (2017)."""
  return lambda params: jax.tree.map(lambda x: jnp.clip(x, -bound, bound), params)


def max_column_norm(bound: float | jax.Array) -> Projection:
  """The incoming weights of every unit onto the ball of radius `bound` (Srivastava et al., 2014).

  Kernels have their units on the last axis; biases and other vectors stay as they are.
  """

  def shorten(x: jax.Array) -> jax.Array:
    if x.ndim < 2:
      return x
    norms = jnp.sqrt(jnp.sum(x**2, axis=tuple(range(x.ndim - 1)), keepdims=True))
    return jnp.where(norms > bound, x * (bound / jnp.maximum(norms, 1e-12)), x)

  return lambda params: jax.tree.map(shorten, params)


def chain(*projections: Projection) -> Projection | None:
  """One after another; None where there are none."""
  if not projections:
    return None

  def project(params: PyTree) -> PyTree:
    for each in projections:
      params = each(params)
    return params

  return project
