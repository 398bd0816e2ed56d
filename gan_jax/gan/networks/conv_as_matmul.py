"""Defines the convolution layer, computed on a CPU by matrix products.

XLA's CPU convolutions are slow inside loops; products are not, and may be differentiated any number of times.
Images are [n, h, w, c], kernels [height, width, inputs, outputs], and `padding` applies to all four sides.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from gan_jax.gan.networks.initializers import LayerInit, lecun_uniform

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def _matmul(x: Array, kernel: Array) -> Array:
  """Multiplies x [..., m, inputs] by kernel [..., inputs, outputs], with equal leading axes."""
  if kernel.shape[-2] <= kernel.shape[-1]:
    return x @ kernel
  # The kernel's gradient transposes one factor, and XLA on a CPU takes twice as long to transpose the
  # larger one. This form transposes the smaller, and the barrier keeps XLA from undoing it.
  kernel = lax.optimization_barrier(jnp.swapaxes(kernel, -1, -2))
  batch = tuple(range(x.ndim - 2))
  return lax.dot_general(x, kernel, (((x.ndim - 1,), (x.ndim - 1,)), (batch, batch)))


def _pad_width(kernel: Array, stride: int) -> Array:
  """Appends zero columns to the kernel until its width is a multiple of `stride`."""
  return jnp.pad(kernel, ((0, 0), (0, -kernel.shape[1] % stride), (0, 0), (0, 0)))


def _gather_patches(x: Array, height: int, width: int, stride: int) -> Array:
  """Gathers the patch under the kernel at every position (im2col), `stride` pixels apart.

  Maps [n, h, w, c] to [n, h', w', height width c], where `stride` divides w and width: pixels are copied
  in runs of `stride`, contiguous in memory.
  """
  n, h, w, c = x.shape
  rows, columns = (h - height) // stride + 1, (w - width) // stride + 1
  x = x.reshape(n, h, w // stride, stride * c)
  shifts = [(i, j) for i in range(height) for j in range(width // stride)]
  last = stride * (rows - 1) + 1
  runs = [x[:, i : i + last : stride, j : j + columns] for i, j in shifts]
  return jnp.stack(runs, axis=3).reshape(n, rows, columns, -1)


def _sum_patches(x: Array, height: int, width: int, stride: int) -> Array:
  """Adds each patch to the pixels under the kernel (col2im): the transpose of `_gather_patches`."""
  n, rows, columns, _ = x.shape
  x = x.reshape(n, rows, columns, height * (width // stride), -1)
  parts = lax.split(x, (1,) * x.shape[3], axis=3)
  last = width // stride - 1
  total = None
  for k, part in enumerate(parts):
    i, j = divmod(k, width // stride)
    edges = ((0, 0, 0), (i, height - 1 - i, stride - 1), (j, last - j, 0), (0, 0, 0))
    part = lax.pad(part[:, :, :, 0], jnp.zeros((), x.dtype), edges)
    total = part if total is None else total + part
  assert total is not None
  return total.reshape(n, total.shape[1], total.shape[2] * stride, -1)


def convolve(
  x: Array, kernel: Array, stride: int, padding: int, groups: int = 1, *, as_matmul: bool
) -> Array:
  """Cross-correlates x [n, h, w, groups * inputs] with `kernel` into [n, h', w', outputs].

  Args:
    x: images.
    kernel: [height, width, inputs, outputs]; the i-th group of inputs makes the i-th share of outputs.
    stride: in pixels, in both directions.
    padding: zero pixels on each side.
    groups: number of groups of channels.
    as_matmul: whether to use matrix products instead of XLA's convolution.
  """
  if not as_matmul:
    edges = [(padding, padding)] * 2
    return lax.conv_general_dilated(
      x, kernel, (stride,) * 2, edges, dimension_numbers=_DIMENSIONS, feature_group_count=groups
    )
  if groups > 1:
    return _convolve_groups(x, kernel, stride, padding, groups)
  h, w = ((x.shape[i + 1] + 2 * padding - kernel.shape[i]) // stride for i in (0, 1))
  kernel = _pad_width(kernel, stride)
  height, width, _, outputs = kernel.shape
  # Padded to where the kernel ends; negative padding cuts off pixels that it does not reach.
  ends = (stride * h + height, stride * w + width)
  pad_config = [
    (0, 0, 0),
    *((padding, ends[i] - x.shape[i + 1] - padding, 0) for i in (0, 1)),
    (0, 0, 0),
  ]
  x = _gather_patches(lax.pad(x, jnp.zeros((), x.dtype), pad_config), height, width, stride)
  n, h, w, _ = x.shape
  y = _matmul(x.reshape(n * h * w, -1), kernel.reshape(-1, outputs))
  return y.reshape(n, h, w, outputs)


def _convolve_groups(x: Array, kernel: Array, stride: int, padding: int, groups: int) -> Array:
  """Sums one matrix product per kernel pixel, in float32 or wider.

  Takes half the time of a product of gathered patches: with 16 channels per group, copying costs more.
  """
  n, h, w, _ = x.shape
  height, width, inputs, outputs = kernel.shape
  kernel = kernel.reshape(height * width, inputs, groups, -1).swapaxes(1, 2)
  x = x.reshape(n * h * w, groups, -1).swapaxes(0, 1).reshape(groups * n, h, w, -1)
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  rows, columns = ((x.shape[i + 1] - side) // stride + 1 for i, side in enumerate((height, width)))
  sum_dtype = jnp.promote_types(x.dtype, jnp.float32)
  total = None
  for k in range(height * width):
    i, j = divmod(k, width)
    part = x[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
    part = part.reshape(groups, n * rows * columns, -1)
    y = jnp.matmul(part, kernel[k], preferred_element_type=sum_dtype)
    total = y if total is None else total + y
  assert total is not None
  return total.swapaxes(0, 1).reshape(n, rows, columns, outputs).astype(x.dtype)


def convolve_transposed(
  x: Array, kernel: Array, stride: int, padding: int, *, as_matmul: bool
) -> Array:
  """Applies a transposed convolution with `kernel`, whose output loses `padding` pixels on each side.

  Maps [n, h, w, inputs] to [n, stride (h - 1) + height - 2 padding, ..., outputs].
  """
  if not as_matmul:
    edges = [(k - 1 - padding,) * 2 for k in kernel.shape[:2]]
    return lax.conv_transpose(
      x, kernel[::-1, ::-1], (stride,) * 2, edges, dimension_numbers=_DIMENSIONS
    )
  sizes = [stride * (x.shape[i + 1] - 1) + kernel.shape[i] - 2 * padding for i in (0, 1)]
  kernel = _pad_width(kernel, stride)
  height, width, inputs, _ = kernel.shape
  n, h, w, _ = x.shape
  y = _matmul(x.reshape(-1, inputs), kernel.transpose(2, 0, 1, 3).reshape(inputs, -1))
  y = _sum_patches(y.reshape(n, h, w, -1), height, width, stride)
  return y[:, padding : padding + sizes[0], padding : padding + sizes[1]]


class Conv(nn.Module):
  """Applies a convolution of `kernel_size` squared pixels; `as_matmul` does not change its parameters."""

  features: int
  kernel_size: int = 3
  stride: int = 1
  padding: int = 1
  groups: int = 1
  transposed: bool = False
  use_bias: bool = True
  layer_init: LayerInit = lecun_uniform
  dtype: Any = jnp.float32
  as_matmul: bool | None = None  # None: on a CPU backend only

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to [n, h', w', features]."""
    inputs = x.shape[-1] // self.groups
    # An output of a transposed convolution receives one kernel pixel in stride^2, on average.
    fan_in = self.kernel_size**2 * inputs // (self.stride**2 if self.transposed else 1)
    kernel_init, bias_init = self.layer_init(max(fan_in, 1))
    shape = (self.kernel_size, self.kernel_size, inputs, self.features)
    kernel = self.param('kernel', kernel_init, shape).astype(self.dtype)
    x = x.astype(self.dtype)
    as_matmul = jax.default_backend() == 'cpu' if self.as_matmul is None else self.as_matmul
    if self.transposed:
      x = convolve_transposed(x, kernel, self.stride, self.padding, as_matmul=as_matmul)
    else:
      x = convolve(x, kernel, self.stride, self.padding, self.groups, as_matmul=as_matmul)
    if not self.use_bias:
      return x
    bias = self.param('bias', bias_init, (self.features,)).astype(self.dtype)
    return x + bias[None, None, None]
