"""Draws grids of generated images, their nearest training images and interpolations, from fixed latents."""

import io
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from gan_jax.data import Dataset
from gan_jax.data.image_arrays import image_grid
from gan_jax.evaluation import sampling
from gan_jax.gan.gan import Gan, GanState, Weights
from gan_jax.gan.latents import Latent, interpolate_latents
from gan_jax.metrics.nearest_neighbours import nearest_image
from gan_jax.utils.files import write_atomically

_MIN_HEIGHT = 128  # pixels of an animation


def save_png(path: Path, image: np.ndarray, scale: int = 2) -> None:
  """Writes an image uint8 [h, w, 1 or 3] as a PNG file, each pixel `scale` pixels wide."""
  image = image.repeat(scale, axis=0).repeat(scale, axis=1)
  path.parent.mkdir(parents=True, exist_ok=True)
  file = io.BytesIO()
  Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, 'png')
  write_atomically(path, file.getvalue())


def save_animation(path: Path, frames: np.ndarray, fps: float) -> None:
  """Writes frames uint8 [n, h, w, 1 or 3] as an endless animated .webp or .gif, at least 128 pixels high."""
  scale = max(1, -(-_MIN_HEIGHT // frames.shape[1]))
  pixels = frames.repeat(scale, axis=1).repeat(scale, axis=2)
  pictures = [Image.fromarray(x[:, :, 0] if x.shape[2] == 1 else x) for x in pixels]
  path.parent.mkdir(parents=True, exist_ok=True)
  file = io.BytesIO()
  options = {'lossless': True} if path.suffix == '.webp' else {}
  duration = max(1, round(1000 / fps))  # milliseconds
  pictures[0].save(
    file,
    path.suffix[1:],
    save_all=True,
    append_images=pictures[1:],
    duration=duration,
    loop=0,
    **options,
  )
  write_atomically(path, file.getvalue())


def latent_path(latent: Latent, latents: jax.Array, n: int) -> jax.Array:
  """Returns a path [(m - 1) n + 1, size] through m latents [m, size], with n steps from each to the next."""
  legs = [interpolate_latents(latent, a, b, n + 1)[:-1] for a, b in itertools.pairwise(latents)]
  return jnp.concatenate([*legs, latents[-1:]])


def save_sample_grids(
  folder: Path, step: int, gan: Gan, state: GanState, seed: int, dataset: Dataset
) -> None:
  """Writes PNG files with `step` in their names: grids of the averaged weights, samples of the last weights.

  Nearest neighbours are found among the training images of `dataset`.
  """
  ema, raw = (sampling.generator_weights(state, which) for which in ('ema', 'raw'))
  save = lambda name, image: save_png(folder / f'{name}_{step:08d}.png', image)
  save('grid', sample_grid(gan, ema, seed))
  save('grid_raw', sample_grid(gan, raw, seed))
  save('neighbours', nearest_neighbour_grid(gan, ema, seed, dataset))
  save('interpolation', interpolation_grid(gan, ema, seed))


def sample_grid(gan: Gan, weights: Weights, seed: int, n: int = 100) -> np.ndarray:
  """Returns the first n samples of `seed` as one image, uint8 [h, w, c]."""
  latents = sampling.fixed_latents(gan.latent, seed, n)
  return image_grid(sampling.generate_images(gan, weights, latents))


def interpolation_grid(
  gan: Gan, weights: Weights, seed: int, rows: int = 10, columns: int = 12
) -> np.ndarray:
  """Returns a grid uint8 [h, w, c] whose rows interpolate between two fixed latents within one class."""
  z = sampling.fixed_latents(gan.latent, seed, 2 * rows)
  paths = [interpolate_latents(gan.latent, z[i], z[i + 1], columns) for i in range(0, 2 * rows, 2)]
  labels = jnp.repeat(jnp.arange(rows) % gan.n_classes, columns) if gan.n_classes else None
  images = sampling.generate_images(gan, weights, jnp.concatenate(paths), labels)
  return image_grid(images, columns)


def nearest_neighbour_grid(
  gan: Gan, weights: Weights, seed: int, dataset: Dataset, n: int = 20
) -> np.ndarray:
  """Returns n samples, each with its nearest training image to the right, as one image uint8 [h, w, c].

  Equal pairs reveal a generator that copies training images (Figure 2 of Goodfellow et al., 2014).
  """
  latents = sampling.fixed_latents(gan.latent, seed, n)
  fakes = sampling.generate_images(gan, weights, latents)
  pairs = np.stack([fakes, dataset.train[nearest_image(fakes, dataset.train)]], axis=1)
  return image_grid(pairs.reshape(-1, *fakes.shape[1:]), columns=10)
