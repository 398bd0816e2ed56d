"""Finds the latent whose sample is nearest to a given image, by gradient descent on the latent."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import PIL.Image
import PIL.ImageOps

from gan_jax.data import image_arrays
from gan_jax.data.reader.image_decoding import NotAnImageError, decode_image
from gan_jax.data.reader.options import MAX_FILE_BYTES, ReadOptions
from gan_jax.evaluation import sampling
from gan_jax.gan.gan import Gan, Weights, sample
from gan_jax.gan.latents import Latent
from gan_jax.utils.errors import UserError

_CANDIDATES = 1000  # random samples, of which the nearest are the starts


class Inversion(NamedTuple):
  """Holds the sample that is nearest to an image; distances are root mean squares of pixels in [0, 255]."""

  latent: np.ndarray  # float32 [size]
  label: int | None  # class of a conditional generator
  image: np.ndarray  # uint8 [h, w, c]
  distance: float
  start_image: np.ndarray  # the nearest random sample
  start_distance: float


def read_target(path: Path, shape: tuple[int, ...], background: str = 'white') -> np.ndarray:
  """Reads an image file as training does, cropped and resized to `shape` (h, w, c): uint8. Raises UserError."""
  options = ReadOptions(background=background)
  try:
    if path.stat().st_size > MAX_FILE_BYTES:
      raise UserError(f'--image={path}: this file is too large; give a smaller image')
    decoded = decode_image(path.read_bytes(), path.name, 0, options.background_color())
  except OSError as error:
    raise UserError(f'--image={path}: {error.strerror}; name a file with an image') from None
  except NotAnImageError as error:
    raise UserError(
      f'--image={path}: this is no image to read ({error.reason}); name another'
    ) from None
  pixels = np.frombuffer(decoded.content, np.uint8).reshape(decoded.shape)
  image = PIL.Image.fromarray(pixels).convert('L' if shape[2] == 1 else 'RGB')
  if image.size != (shape[1], shape[0]):
    image = PIL.ImageOps.fit(image, (shape[1], shape[0]), PIL.Image.Resampling.LANCZOS)
  return np.atleast_3d(np.asarray(image))


def invert_image(
  gan: Gan,
  weights: Weights,
  target: np.ndarray,
  classes: list[int],
  *,
  seed: int = 0,
  starts: int = 8,
  steps: int = 500,
  lr: float = 0.05,
) -> Inversion:
  """Returns the sample nearest to `target` that gradient descent finds from the best of 1,000 random samples.

  Args:
    gan: the networks of a run.
    weights: of the generator.
    target: uint8 [h, w, c].
    classes: those to search, for a conditional generator.
    seed: of the random samples.
    starts: number of random samples, the nearest ones, from which Adam descends.
    steps: updates by Adam, whose rate falls from `lr` to 0 by a cosine.
    lr: learning rate, in standard deviations of the prior.

  Raises:
    UserError: for a prior of signs, which has no gradient.
  """
  if gan.latent.name == 'binary':
    raise UserError('--latent=binary: such latents are signs, on which no gradient descends')
  wanted = _as_generated(target, gan.contrast)
  latents = sampling.fixed_latents(gan.latent, seed, _CANDIDATES)
  labels = jnp.asarray(classes)[jnp.arange(_CANDIDATES) % len(classes)] if gan.n_classes else None
  batches = sampling.generate_batches(gan, weights, latents, labels)
  errors = jnp.concatenate([_squared_error(x, wanted) for x in batches])
  nearest = jnp.argsort(errors)[:starts]
  chosen = None if labels is None else labels[nearest]
  found, errors = _descend(gan, steps, lr, weights, wanted, latents[nearest], chosen)
  best = int(jnp.argmin(errors))
  label = None if chosen is None else chosen[best : best + 1]
  first = None if labels is None else labels[nearest[:1]]
  draw = lambda z, y: sampling.generate_images(gan, weights, z, y)[0]
  image, start = draw(found[best : best + 1], label), draw(latents[nearest[:1]], first)
  return Inversion(
    np.asarray(found[best]),
    None if label is None else int(label[0]),
    image,
    _distance(image, target),
    start,
    _distance(start, target),
  )


def _as_generated(target: np.ndarray, contrast: float) -> jax.Array:
  """Returns an image [h, w, c] as the generator makes images, in [-1, 1] or normalised at `contrast`."""
  if contrast:
    return image_arrays.global_contrast_normalize(jnp.asarray(target)[None], contrast)[0]
  return image_arrays.uint8_to_float(jnp.asarray(target))


def _squared_error(images: jax.Array, wanted: jax.Array) -> jax.Array:
  """Returns the mean squared difference [n] of images [n, h, w, c] to one image."""
  return jnp.mean((images - wanted[None]) ** 2, axis=(1, 2, 3))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _descend(
  gan: Gan,
  steps: int,
  lr: float,
  weights: Weights,
  wanted: jax.Array,
  latents: jax.Array,
  labels: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """Returns the latents [n, size] after Adam, of each the best on its way, and their squared errors [n]."""
  tx = optax.adam(optax.cosine_decay_schedule(lr, steps))

  def loss(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    errors = _squared_error(sample(gan, weights, z, labels), wanted)
    return errors.sum(), errors

  def update(_: int, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    z, state, best, least = carry
    grads, errors = jax.grad(loss, has_aux=True)(z)
    better = errors < least
    best, least = jnp.where(better[:, None], z, best), jnp.where(better, errors, least)
    change, state = tx.update(grads, state)
    return _project(gan.latent, optax.apply_updates(z, change)), state, best, least

  start = (latents, tx.init(latents), latents, jnp.full(len(latents), jnp.inf))
  z, _, best, least = jax.lax.fori_loop(0, steps, update, start)
  errors = loss(z)[1]
  return jnp.where((errors < least)[:, None], z, best), jnp.minimum(errors, least)


def _project(latent: Latent, z: jax.Array) -> jax.Array:
  """Returns latents [n, size] moved into the support of their prior."""
  if latent.name == 'uniform':
    return jnp.clip(z, -(3.0**0.5), 3.0**0.5)
  if latent.name == 'sphere':
    return z * (latent.size**0.5 / jnp.linalg.norm(z, axis=1, keepdims=True))
  return z


def _distance(image: np.ndarray, target: np.ndarray) -> float:
  return float(np.sqrt(np.mean((image.astype(float) - target) ** 2)))
