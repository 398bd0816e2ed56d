"""Defines batch normalisation over all devices and spectral normalisation, which several networks share."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from gan_jax.distributed.randomness import BatchAxis, collective_axis_name


def apply_layer(layer: nn.Module, x: Array, train: bool, norm: str) -> Array:
  """Applies `layer` to x, with spectral normalisation of its weights where `norm` is 'spectral'.

  Miyato et al. (2018): each call makes one step of power iteration, whose vector is stored in training.
  """
  if norm == 'spectral':
    return jnp.asarray(nn.SpectralNorm(layer)(x, update_stats=train))
  return jnp.asarray(layer(x))


def batch_norm(x: Array, train: bool, axis_name: BatchAxis, norm: str, dtype: Any) -> Array:
  """Normalises x [n, ..., c] over the global batch where `norm` is 'batch' (Ioffe & Szegedy, 2015)."""
  if norm != 'batch':
    return x
  layer = nn.BatchNorm(
    not train, momentum=0.9, axis_name=collective_axis_name(axis_name), dtype=dtype
  )
  return jnp.asarray(layer(x))
