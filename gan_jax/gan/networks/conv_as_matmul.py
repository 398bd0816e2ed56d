"""Convolutions, on a CPU as matrix products, which unlike XLA's own stay fast inside loops there.

Images are [n, h, w, c], kernels [height, width, inputs, outputs], and every side is padded alike. The
products are plain compositions, so penalties on gradients may differentiate them twice.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.gan.networks.layers import First, scaled

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """X [..., m, inputs] times kernel [..., inputs, outputs], with leading axes of batches."""
  if kernel.shape[-2] <= kernel.shape[-1]:
    return x @ kernel
  # The gradient of the kernel transposes one factor, and XLA on a CPU takes twice as long where that
  # is the larger one. Written like this it is the smaller, and the barrier keeps it so.
  kernel = lax.optimization_barrier(jnp.swapaxes(kernel, -1, -2))
  batch = tuple(range(x.ndim - 2))
  return lax.dot_general(x, kernel, (((x.ndim - 1,), (x.ndim - 1,)), (batch, batch)))


def _widen(kernel: jax.Array, stride: int) -> jax.Array:
  """The kernel with zero columns at its far edge, so that its width is a multiple of `stride`."""
  return jnp.pad(kernel, ((0, 0), (0, -kernel.shape[1] % stride), (0, 0), (0, 0)))


def _gather(x: jax.Array, height: int, width: int, stride: int) -> jax.Array:
  """The pixels under the kernel at each of its places, every `stride` pixels; x has a whole number.

  [n, h, w, c] to [n, h', w', height width c]. Pixels come in runs of `stride`: a reshape, and copies
  of whole rows of memory.
  """
  n, h, w, c = x.shape
  rows, columns = (h - height) // stride + 1, (w - width) // stride + 1
  x = x.reshape(n, h, w // stride, stride * c)
  shifts = [(i, j) for i in range(height) for j in range(width // stride)]
  last = stride * (rows - 1) + 1
  runs = [x[:, i : i + last : stride, j : j + columns] for i, j in shifts]
  return jnp.stack(runs, axis=3).reshape(n, rows, columns, -1)


def _scatter(x: jax.Array, height: int, width: int, stride: int) -> jax.Array:
  """The transpose of `_gather`: what each place gives to the pixels under the kernel, summed."""
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
  x: jax.Array, kernel: jax.Array, stride: int, padding: int, groups: int = 1, *, as_products: bool
) -> jax.Array:
  """Cross-correlation of x [n, h, w, groups inputs] with `kernel`, every `stride` pixels.

  Each of the `groups` of channels has its share of the kernel's outputs, one after the other.
  """
  if not as_products:
    edges = [(padding, padding)] * 2
    return lax.conv_general_dilated(
      x,
      kernel,
      (stride,) * 2,
      edges,
      dimension_numbers=_DIMENSIONS,
      feature_group_count=groups,
    )
  if groups > 1:
    return _convolve_groups(x, kernel, stride, padding, groups)
  h, w = ((x.shape[i + 1] + 2 * padding - kernel.shape[i]) // stride for i in (0, 1))
  kernel = _widen(kernel, stride)
  height, width, _, outputs = kernel.shape
  # As far as the kernel reaches; a negative padding cuts what it does not reach.
  far = (stride * h + height, stride * w + width)
  edges3 = [
    (0, 0, 0),
    *((padding, far[i] - x.shape[i + 1] - padding, 0) for i in (0, 1)),
    (0, 0, 0),
  ]
  x = _gather(lax.pad(x, jnp.zeros((), x.dtype), edges3), height, width, stride)
  n, h, w, _ = x.shape
  y = _product(x.reshape(n * h * w, -1), kernel.reshape(-1, outputs))
  return y.reshape(n, h, w, outputs)


def _convolve_groups(
  x: jax.Array, kernel: jax.Array, stride: int, padding: int, groups: int
) -> jax.Array:
  """One thin product for each pixel of the kernel, summed in float32 at least.

  Half the time of one product of gathered pixels: copying them outweighs products of 16 channels.
  """
  n, h, w, _ = x.shape
  height, width, inputs, outputs = kernel.shape
  kernel = kernel.reshape(height * width, inputs, groups, -1).swapaxes(1, 2)
  x = x.reshape(n * h * w, groups, -1).swapaxes(0, 1).reshape(groups * n, h, w, -1)
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  rows, columns = ((x.shape[i + 1] - side) // stride + 1 for i, side in enumerate((height, width)))
  summed = jnp.promote_types(x.dtype, jnp.float32)
  total = None
  for k in range(height * width):
    i, j = divmod(k, width)
    part = x[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
    part = part.reshape(groups, n * rows * columns, -1)
    y = jnp.matmul(part, kernel[k], preferred_element_type=summed)
    total = y if total is None else total + y
  assert total is not None
  return total.swapaxes(0, 1).reshape(n, rows, columns, outputs).astype(x.dtype)


def convolve_transposed(
  x: jax.Array, kernel: jax.Array, stride: int, padding: int, *, as_products: bool
) -> jax.Array:
  """Each pixel of x [n, h, w, inputs] paints `kernel`, `stride` pixels apart; `padding` is cut off.

  [n, h, w, inputs] to [n, stride (h - 1) + height - 2 padding, ..., outputs].
  """
  if not as_products:
    edges = [(k - 1 - padding,) * 2 for k in kernel.shape[:2]]
    return lax.conv_transpose(
      x, kernel[::-1, ::-1], (stride,) * 2, edges, dimension_numbers=_DIMENSIONS
    )
  sizes = [stride * (x.shape[i + 1] - 1) + kernel.shape[i] - 2 * padding for i in (0, 1)]
  kernel = _widen(kernel, stride)
  height, width, inputs, _ = kernel.shape
  n, h, w, _ = x.shape
  y = _product(x.reshape(-1, inputs), kernel.transpose(2, 0, 1, 3).reshape(inputs, -1))
  y = _scatter(y.reshape(n, h, w, -1), height, width, stride)
  return y[:, padding : padding + sizes[0], padding : padding + sizes[1]]


class Conv(nn.Module):
  """A convolution with bias, of `size` pixels squared; the same parameters however it is computed."""

  features: int
  size: int = 3
  stride: int = 1
  padding: int = 1
  groups: int = 1
  transposed: bool = False
  use_bias: bool = True
  first: First = scaled
  dtype: Any = jnp.float32
  as_products: bool | None = None  # None: where the backend is a CPU

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h', w', features]; n images at a time."""
    inputs = x.shape[-1] // self.groups
    # Of a transposed kernel, one pixel in stride^2 reaches an output, on average.
    fan_in = self.size**2 * inputs // (self.stride**2 if self.transposed else 1)
    kernel_init, bias_init = self.first(max(fan_in, 1))
    shape = (self.size, self.size, inputs, self.features)
    kernel = self.param('kernel', kernel_init, shape).astype(self.dtype)
    x = x.astype(self.dtype)
    products = jax.default_backend() == 'cpu' if self.as_products is None else self.as_products
    if self.transposed:
      x = convolve_transposed(x, kernel, self.stride, self.padding, as_products=products)
    else:
      x = convolve(x, kernel, self.stride, self.padding, self.groups, as_products=products)
    if not self.use_bias:
      return x
    bias = self.param('bias', bias_init, (self.features,)).astype(self.dtype)
    return x + bias[None, None, None]
