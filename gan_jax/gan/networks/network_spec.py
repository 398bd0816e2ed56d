"""Describes a (generator, discriminator) pair, and refuses options that a network does not support."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from gan_jax.gan.networks.initializers import mean_image_bias
from gan_jax.utils.errors import UserError

INITS = ('scaled', '2014', 'torch')
NORMS = ('', 'none', 'batch', 'spectral')
DTYPES = ('float32', 'bfloat16')


class NetworkSpec(NamedTuple):
  """Holds the options of a (generator, discriminator) pair; 0 and '' stand for the network's default."""

  shape: tuple[int, ...]  # of one example: (h, w, c), or (d,) for points
  g_width: int = 0
  d_width: int = 0
  g_depth: int = 0  # hidden layers, or blocks per resolution
  d_depth: int = 0
  init: str = 'scaled'  # initial weights: by fan-in or the network's paper | '2014' | 'torch'
  d_dropout: bool = False
  g_norm: str = ''  # 'none' | 'batch'
  d_norm: str = ''  # 'none' | 'batch' | 'spectral'
  n_classes: int = 0  # 0: unconditional
  dtype: str = 'float32'  # of the computation; parameters, images and logits are float32
  mean_image: Array | None = None  # [*shape] in [0, 1]: sets G's initial output bias
  scale: float = 1.0  # of the examples: D divides its inputs by it, G multiplies its outputs
  remat: bool = False  # recompute the activations of blocks in the backward pass
  as_matmul: bool | None = None  # convolutions as matrix products; None: on a CPU backend only

  @property
  def compute_dtype(self) -> Any:
    """Returns the dtype that layers compute in."""
    return jnp.dtype(self.dtype)

  def conv_options(self) -> dict[str, Any]:
    """Returns the fields that all convolutional generators and discriminators share."""
    options = {'dtype': self.compute_dtype, 'as_matmul': self.as_matmul}
    return options | {'n_classes': self.n_classes, 'remat': self.remat}

  def conv_generator_options(self, activation: str) -> dict[str, Any]:
    """Returns `conv_options`, and the output bias that makes the mean image before `activation`."""
    bias = mean_image_bias(self.mean_image, activation, per_channel=True)
    return self.conv_options() | {'output_bias': bias}


class Supported(NamedTuple):
  """Holds the options that a network supports; its default norm comes first."""

  g_norms: Sequence[str] = ('none',)
  d_norms: Sequence[str] = ('none',)
  inits: Sequence[str] = ('scaled',)
  depth: bool = False
  dropout: bool = False
  remat: bool = False
  points: bool = False  # shapes other than (h, w, c)
  scale: bool = False


def resolve_spec(name: str, spec: NetworkSpec, supported: Supported) -> NetworkSpec:
  """Returns `spec` with default norms filled in; raises UserError for options not in `supported`."""
  if len(spec.shape) != 3 and not supported.points:
    raise UserError(
      f'--network={name}: makes images, not points of shape {tuple(spec.shape)}; use --network=relu'
    )
  if spec.init not in supported.inits:
    _refuse(f'--init={spec.init}', name, f'supports {_choices("--init", supported.inits)}')
  for flag, norm, norms in (
    ('--g_norm', spec.g_norm, supported.g_norms),
    ('--d_norm', spec.d_norm, supported.d_norms),
  ):
    if norm and norm not in norms:
      _refuse(f'{flag}={norm}', name, f'supports {_choices(flag, norms)}')
  for flag, depth in (('--g_depth', spec.g_depth), ('--d_depth', spec.d_depth)):
    if depth and not supported.depth:
      _refuse(f'{flag}={depth}', name, f'has a fixed depth; use {flag}=0')
  if spec.d_dropout and not supported.dropout:
    _refuse('--d_dropout', name, 'has no dropout; use --nod_dropout, or --network=mlp')
  if spec.remat and not supported.remat:
    _refuse('--remat', name, 'has no blocks to recompute; use --noremat')
  if spec.scale != 1 and not supported.scale:
    _refuse(f'--scale={spec.scale}', name, 'does not rescale examples; use --scale=1')
  if spec.dtype not in DTYPES:
    _refuse(f'--dtype={spec.dtype}', name, f'supports {_choices("--dtype", DTYPES)}')
  return spec._replace(
    g_norm=spec.g_norm or supported.g_norms[0], d_norm=spec.d_norm or supported.d_norms[0]
  )


def _choices(flag: str, values: Sequence[str]) -> str:
  return f'{flag}={f" or {flag}=".join(values)} only'


def _refuse(setting: str, name: str, reason: str) -> None:
  raise UserError(f'{setting}: {name} {reason}')


def count_doublings(name: str, spec: NetworkSpec) -> int:
  """Returns how many doublings lead to `spec.shape` from the smallest image with sides of 4 pixels or more.

  Raises UserError where a side is below 8 or no multiple of 4.
  """
  h, w, _ = spec.shape
  count = 0
  while min(h, w) >> count >= 8 and not (h >> count) % 2 and not (w >> count) % 2:
    count += 1
  if count == 0 or h % 4 or w % 4:
    raise UserError(
      f'--network={name}: makes images whose height and width are multiples of 4, from 8 on, '
      f'not {h}x{w}; resize them, or use --network=mlp'
    )
  return count


def check_labels(labels: Array | None, n_classes: int) -> None:
  """Raises ValueError, while tracing, where labels are given without classes or missing with classes."""
  if (labels is None) != (n_classes == 0):
    given = 'no labels' if labels is None else 'labels'
    raise ValueError(f'{given} for a network of {n_classes} classes')
