"""What a pair of networks is asked to be, and one line for what it cannot be."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.utils.errors import UserError

INITS = ('scaled', '2014', 'torch')
NORMS = ('', 'none', 'batch', 'spectral')
DTYPES = ('float32', 'bfloat16')


class NetworkSpec(NamedTuple):
  """The pair to build; 0 and '' stand for the network's own default."""

  shape: tuple[int, ...]  # of one example: (h, w, c), or (d,) for points
  g_width: int = 0
  d_width: int = 0
  g_depth: int = 0  # hidden layers, or blocks per resolution
  d_depth: int = 0
  init: str = (
    'scaled'  # first weights: by fan-in or as the network's paper has them | '2014' | 'torch'
  )
  d_dropout: bool = False
  g_norm: str = ''  # 'none' | 'batch'
  d_norm: str = ''  # 'none' | 'batch' | 'spectral'
  n_classes: int = 0  # 0: unconditional
  dtype: str = 'float32'  # of the computation; parameters, images and logits are float32 anyway
  mean_image: jax.Array | None = None  # [*shape] in [0, 1]: starts G's output bias
  scale: float = 1.0  # of the examples: networks for points divide by it inside
  remat: bool = False  # compute blocks again in the backward pass instead of keeping them
  as_products: bool | None = (
    None  # convolutions as matrix products; None: where the backend is a CPU
  )


class SupportedOptions(NamedTuple):
  """What one network of the registry can be; its default norm comes first."""

  g_norms: Sequence[str] = ('none',)
  d_norms: Sequence[str] = ('none',)
  inits: Sequence[str] = ('scaled',)
  depth: bool = False
  dropout: bool = False
  remat: bool = False
  points: bool = False  # shapes other than (h, w, c)
  scale: bool = False
  conditional: bool = True


def resolve_spec(name: str, spec: NetworkSpec, offer: SupportedOptions) -> NetworkSpec:
  """`spec` with its norms chosen; raises UserError where network `name` does not offer it."""
  _check_shape(name, spec, offer)
  if spec.init not in offer.inits:
    _refuse(f'--init={spec.init}', name, f'begins as {_either("--init", offer.inits)}')
  for flag, wanted, offered in (
    ('--g_norm', spec.g_norm, offer.g_norms),
    ('--d_norm', spec.d_norm, offer.d_norms),
  ):
    if wanted and wanted not in offered:
      _refuse(f'{flag}={wanted}', name, f'has {_either(flag, offered)}')
  for flag, depth in (('--g_depth', spec.g_depth), ('--d_depth', spec.d_depth)):
    if depth and not offer.depth:
      _refuse(f'{flag}={depth}', name, f'has a depth of its own; use {flag}=0')
  if spec.d_dropout and not offer.dropout:
    _refuse('--d_dropout', name, 'has no dropout; use --nod_dropout, or --network=mlp')
  if spec.remat and not offer.remat:
    _refuse('--remat', name, 'has no blocks to compute again; use --noremat')
  if spec.scale != 1 and not offer.scale:
    _refuse(f'--scale={spec.scale}', name, 'works on examples as they are; use --scale=1')
  if spec.dtype not in DTYPES:
    _refuse(f'--dtype={spec.dtype}', name, f'computes in {_either("--dtype", DTYPES)}')
  return spec._replace(
    g_norm=spec.g_norm or offer.g_norms[0], d_norm=spec.d_norm or offer.d_norms[0]
  )


def _check_shape(name: str, spec: NetworkSpec, offer: SupportedOptions) -> None:
  if len(spec.shape) != 3 and not offer.points:
    raise UserError(
      f'--network={name}: makes images, not points of shape {tuple(spec.shape)}; use --network=relu'
    )


def _either(flag: str, choices: Sequence[str]) -> str:
  return f'{flag}={f" or {flag}=".join(choices)} only'


def _refuse(setting: str, name: str, why: str) -> None:
  raise UserError(f'{setting}: {name} {why}')


def compute_dtype(spec: NetworkSpec) -> Any:
  """The type that layers compute in."""
  return jnp.dtype(spec.dtype)


def check_labels(labels: jax.Array | None, n_classes: int) -> None:
  """Raise ValueError, in tracing, unless labels come exactly where there are classes."""
  if (labels is None) != (n_classes == 0):
    given = 'no labels' if labels is None else 'labels'
    raise ValueError(f'{given} for a network of {n_classes} classes')
