"""Projects a player's parameters onto a constraint set after each update: clipping, maximum column norm."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

PyTree = Any
Projection = Callable[[PyTree], PyTree]


def clip(bound: float | Array) -> Projection:
  """Clips every parameter to [-bound, bound] (Arjovsky et al., 2017)."""
  return lambda params: jax.tree.map(lambda x: jnp.clip(x, -bound, bound), params)


def max_column_norm(bound: float | Array) -> Projection:
  """Scales the incoming weights of every unit to a norm of at most `bound` (Srivastava et al., 2014).

  The last axis of a kernel numbers its units; biases and other vectors are unchanged.
  """

  def project(x: Array) -> Array:
    if x.ndim < 2:
      return x
    norms = jnp.sqrt(jnp.sum(x**2, axis=tuple(range(x.ndim - 1)), keepdims=True))
    return jnp.where(norms > bound, x * (bound / jnp.maximum(norms, 1e-12)), x)

  return lambda params: jax.tree.map(project, params)


def chain(*projections: Projection) -> Projection | None:
  """Returns the composition of `projections`, the first applied first; None without any."""
  if not projections:
    return None

  def project(params: PyTree) -> PyTree:
    for projection in projections:
      params = projection(params)
    return params

  return project
