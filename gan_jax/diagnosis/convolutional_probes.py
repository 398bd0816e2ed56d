"""Trains small convolutional networks to separate two sets of images at full resolution.

Images of at most 40 pixels are seen whole. Of larger ones a network sees crops, with the coordinates of each
pixel in the image; the logit of an image is the mean over its crops.
"""

import functools
import math
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from gan_jax.diagnosis.probe_calibration import calibrated_cross_entropy
from gan_jax.diagnosis.probe_types import ExampleParts
from gan_jax.gan.networks.conv_as_matmul import Conv

LARGEST_WHOLE = 40  # longest side, in pixels, of images that are seen whole
CROP = 32  # side of a crop, in pixels
_N_RANDOMCROPS = 5  # of an image whose logit is computed, beside those of its four corners
_BATCH = 64  # examples of each set
_STEPS = (100, 300)  # at least and at most
_VALIDATE_EVERY = 25  # steps
_PATIENCE = 4  # validations without a better cross-entropy
_ENOUGH = 0.01  # nats, a cross-entropy below which training ends
_N_VALIDATION = 768  # examples of each set, at most, by which the step is chosen
_CHUNK = 256  # images or crops whose logits are computed together
_RATE = 2e-3
_WEIGHT_DECAY = 1e-2
_AVERAGE_DECAY = 0.9  # of the moving average of parameters, per step
_CORNERS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))

Params = Any
ArrayLike: TypeAlias = Array | np.ndarray


class ProbeNetwork(nn.Module):
  """Maps images with coordinates to a logit, by features averaged over all places and by features of places."""

  channels: int  # of the first convolution; twice as many after each further one
  depth: int  # number of convolutions with stride 2
  full_resolution: bool = False  # whether a convolution with stride 1 is the first
  shift: int = 0  # pixels, by which images that are seen whole are moved at random in training
  as_matmul: bool | None = None  # see `Conv`

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps inputs [n, h, w, k] to logits [n]."""
    conv = functools.partial(Conv, as_matmul=self.as_matmul)
    channels = self.channels
    if self.full_resolution:
      x, channels = nn.relu(conv(channels)(x)), 2 * channels
    pooled = []
    for i in range(self.depth):
      x = nn.relu(conv(channels * 2**i, 4, 2, 1)(x))
      pooled.append(x.mean(axis=(1, 2)))
    placed = nn.relu(nn.Dense(2 * self.channels)(x.reshape(x.shape[0], -1)))
    x = jnp.concatenate([*pooled, placed], axis=1)
    return nn.Dense(1)(x)[:, 0]


class Pixels(NamedTuple):
  """Holds images or crops, uint8 [n, h, w, c], and the coordinates of their first pixels in the image."""

  values: np.ndarray
  corner: np.ndarray  # float32 [n, 2], row and column in [-1, 1]
  pitch: np.ndarray  # float32 [2], distance of neighbouring pixels in these coordinates


class FittedProbe(NamedTuple):
  """Holds a trained network and what its inputs are scaled by."""

  name: str
  network: ProbeNetwork
  params: Params
  scale: np.ndarray  # float32 [2, c]: mean and deviation of the grey levels of each channel


def fit_convolutional_probe(
  name: str, network: ProbeNetwork, seed: int, real: ExampleParts, fake: ExampleParts
) -> FittedProbe:
  """Trains `network` on the training parts of uint8 images [n, h, w, c], and stops by the validation parts.

  The parameters are a moving average, at the step of the least validation cross-entropy after calibration.
  """
  rng = np.random.default_rng([seed, network.channels, network.depth])
  sets = (real.train, fake.train)
  some = np.concatenate([x[rng.permutation(len(x))[:500]] for x in sets]).astype(np.float32)
  deviation = np.maximum(some.std(axis=(0, 1, 2)), 8)
  scale = np.stack([some.mean(axis=(0, 1, 2)), deviation]).astype(np.float32)
  held_out = [_first_crops(x.validation[:_N_VALIDATION], rng) for x in (real, fake)]
  batch = _draw_batch(rng, sets, network.shift)
  params = _draw_parameters(network, rng, batch, scale)
  state = (params, _zero_optimizer_state(params), params)
  # Few examples are soon known by heart.
  max_steps = min(_STEPS[1], _STEPS[0] + min(map(len, sets)) // 8)
  best, best_params, since = math.inf, params, 0
  for step in range(1, max_steps + 1):
    state = _train_step(network, *state, *batch, scale)
    batch = _draw_batch(rng, sets, network.shift)
    if step % _VALIDATE_EVERY:
      continue
    logits = [pixel_logits(network, state[2], x, scale) for x in held_out]
    value = calibrated_cross_entropy(*logits)
    best, best_params, since = (
      (value, state[2], 0) if value < best else (best, best_params, since + 1)
    )
    if best < _ENOUGH or (since >= _PATIENCE and step >= _STEPS[0]):
      break
  return FittedProbe(name, network, jax.tree.map(np.asarray, best_params), scale)


def predict_logits(probe: FittedProbe, images: np.ndarray, seed: int = 0) -> np.ndarray:
  """Returns the logits [n] of uint8 images [n, h, w, c], of large ones by the mean over nine crops."""
  if not is_cropped(images.shape):
    return pixel_logits(probe.network, probe.params, _whole(images), probe.scale)
  rng = np.random.default_rng([seed, 9])
  total = np.zeros(len(images))
  places = [*_CORNERS, *[None] * _N_RANDOMCROPS]
  for place in places:
    at = rng.random((len(images), 2)) if place is None else np.tile(place, (len(images), 1))
    total += pixel_logits(probe.network, probe.params, crop(images, at), probe.scale)
  return total / len(places)


def is_cropped(shape: tuple[int, ...]) -> bool:
  """Tells whether networks see crops of images of `shape` [n, h, w, c]."""
  return max(shape[1:3]) > LARGEST_WHOLE


def _whole(images: np.ndarray) -> Pixels:
  return crop(images, np.zeros((len(images), 2)), images.shape[1:3])


def crop(images: np.ndarray, at: np.ndarray, shape: tuple[int, int] = (CROP, CROP)) -> Pixels:
  """Cuts crops of `shape` out of images [n, h, w, c] at relative places `at` [n, 2] in [0, 1]."""
  size = np.asarray(images.shape[1:3])
  shape = tuple(np.minimum(shape, size))
  start = np.rint(at * (size - shape)).astype(int)
  pitch = (2 / np.maximum(size - 1, 1)).astype(np.float32)
  if shape == images.shape[1:3]:
    values = images
  else:
    values = np.empty((len(images), *shape, images.shape[3]), images.dtype)
    for i, (y, x) in enumerate(start):
      values[i] = images[i, y : y + shape[0], x : x + shape[1]]
  return Pixels(values, (start * pitch[None] - 1).astype(np.float32), pitch)


def _random_places(rng: np.random.Generator, n: int) -> np.ndarray:
  """Draws relative places [n, 2], of which many are at a border."""
  return np.clip(rng.uniform(-0.2, 1.2, (n, 2)), 0, 1)


def _first_crops(images: np.ndarray, rng: np.random.Generator) -> Pixels:
  if not is_cropped(images.shape):
    return _whole(images)
  return crop(images, _random_places(rng, len(images)))


def _draw_batch(
  rng: np.random.Generator, sets: tuple[np.ndarray, np.ndarray], shift: int
) -> Pixels:
  """Draws a batch, first real images and then as many fakes."""
  drawn = np.concatenate([x[rng.integers(0, len(x), _BATCH)] for x in sets])
  if not shift or is_cropped(drawn.shape):
    return _first_crops(drawn, rng)
  padded = np.pad(drawn, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode='edge')
  places = rng.integers(0, 2 * shift + 1, (len(drawn), 2)) / (2 * shift)
  moved = crop(padded, places, drawn.shape[1:3]).values
  return _whole(moved)


def pixel_logits(
  network: ProbeNetwork, params: Params, pixels: Pixels, scale: np.ndarray
) -> np.ndarray:
  """Returns logits [n]; the last chunk is filled up, so that one program serves any number of images."""
  n, found = len(pixels.values), []
  for i in range(0, n, _CHUNK):
    index = np.arange(i, i + _CHUNK) % n
    x = (pixels.values[index], pixels.corner[index], pixels.pitch)
    found.append(np.asarray(_apply(network, params, *x, scale)))
  return np.concatenate(found)[:n]


def network_inputs(
  values: ArrayLike, corner: ArrayLike, pitch: ArrayLike, scale: ArrayLike
) -> Array:
  """Returns inputs [n, h, w, 2 c + 2]: scaled pixels, differences to their neighbours, and coordinates."""
  x = jnp.asarray(values).astype(jnp.float32)
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode='edge')
  neighbours = (
    padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
  ) / 4
  residual = x - neighbours
  # As a square root: one grey level is seen, and an edge does not drown it.
  residual = jnp.sign(residual) * jnp.sqrt(jnp.abs(residual)) / 4
  n, h, w, _ = x.shape
  place = lambda size, i: jnp.asarray(corner)[:, i, None] + pitch[i] * jnp.arange(size)[None]
  rows = jnp.broadcast_to(place(h, 0)[:, :, None, None], (n, h, w, 1))
  columns = jnp.broadcast_to(place(w, 1)[:, None, :, None], (n, h, w, 1))
  scaled = (x - scale[0][None, None, None]) / scale[1][None, None, None]
  return jnp.concatenate([scaled, residual, rows, columns], axis=3)


@functools.partial(jax.jit, static_argnums=0)
def _apply(
  network: ProbeNetwork, params: Params, values: Array, corner: Array, pitch: Array, scale: Array
) -> Array:
  # Called from Python, XLA's own convolutions are the faster ones for a forward pass.
  network = network.clone(as_matmul=False)
  return jnp.asarray(network.apply(params, network_inputs(values, corner, pitch, scale)))


def _draw_parameters(
  network: ProbeNetwork, rng: np.random.Generator, batch: Pixels, scale: np.ndarray
) -> Params:
  """Draws weights from N(0, 2 / fan-in) (He et al., 2015) on the host: `network.init` compiles for seconds."""
  init = lambda x: network.init(
    jax.random.key(0), network_inputs(x.values, x.corner, x.pitch, scale)
  )
  shapes = jax.eval_shape(init, batch)

  def draw(shape: jax.ShapeDtypeStruct) -> np.ndarray:
    if len(shape.shape) == 1 or shape.shape[-1] == 1:  # a bias, or the output
      return np.zeros(shape.shape, np.float32)
    deviation = (2 / math.prod(shape.shape[:-1])) ** 0.5
    return rng.normal(0, deviation, shape.shape).astype(np.float32)

  return jax.tree.map(draw, shapes)


def _zero_optimizer_state(params: Params) -> optax.OptState:
  """Returns the state of Adam before the first step, without compiling anything."""
  shapes = jax.eval_shape(_optimizer().init, params)
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def _optimizer() -> optax.GradientTransformation:
  rate = optax.cosine_decay_schedule(_RATE, _STEPS[1], alpha=0.05)
  return optax.adamw(rate, weight_decay=_WEIGHT_DECAY)


@functools.partial(jax.jit, static_argnums=0)
def _train_step(
  network: ProbeNetwork,
  params: Params,
  opt_state: optax.OptState,
  average: Params,
  values: Array,
  corner: Array,
  pitch: Array,
  scale: Array,
) -> tuple[Params, optax.OptState, Params]:
  """Takes one step of Adam on a batch whose first half is real; returns parameters, state and the average."""
  target = jnp.repeat(jnp.asarray([1.0, -1.0]), values.shape[0] // 2)

  def loss_fn(params: Params) -> Array:
    inputs = network_inputs(values, corner, pitch, scale)
    logits = jnp.asarray(network.apply(params, inputs))
    return jax.nn.softplus(-target * logits).mean()

  updates, opt_state = _optimizer().update(jax.grad(loss_fn)(params), opt_state, params)
  params = optax.apply_updates(params, updates)
  average = optax.incremental_update(params, average, 1 - _AVERAGE_DECAY)
  return params, opt_state, average
