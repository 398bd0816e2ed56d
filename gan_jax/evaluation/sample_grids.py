"""Pictures of what a generator paints: grids, neighbours, interpolations, all from fixed latents."""

import io
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

from gan_jax.data import Dataset
from gan_jax.data.image_arrays import image_grid
from gan_jax.evaluation import sampling
from gan_jax.gan import latents as latents_lib
from gan_jax.gan.gan import Gan, GanState, Weights
from gan_jax.metrics.nearest_neighbours import nearest_image
from gan_jax.utils.files import write_atomically

_GRID = 100
_ROWS = 10


def save_png(path: Path, image: np.ndarray, scale: int = 2) -> None:
  """Write uint8 [h, w, c] (one channel or three) as a PNG, each pixel `scale` wide."""
  image = image.repeat(scale, axis=0).repeat(scale, axis=1)
  path.parent.mkdir(parents=True, exist_ok=True)
  file = io.BytesIO()
  Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, 'png')
  write_atomically(path, file.getvalue())


def save_sample_grids(
  folder: Path, step: int, gan: Gan, state: GanState, seed: int, dataset: Dataset
) -> None:
  """Every picture of one evaluation, named by its step; the grid from raw weights as well."""
  ema, raw = sampling.generator_weights(state, 'ema'), sampling.generator_weights(state, 'raw')
  save_png(folder / f'grid_{step:08d}.png', sample_grid(gan, ema, seed))
  save_png(folder / f'grid_raw_{step:08d}.png', sample_grid(gan, raw, seed))
  save_png(folder / f'neighbours_{step:08d}.png', nearest_neighbour_grid(gan, ema, seed, dataset))
  save_png(folder / f'interpolation_{step:08d}.png', interpolation_grid(gan, ema, seed))


def sample_grid(gan: Gan, weights: Weights, seed: int, n: int = _GRID) -> np.ndarray:
  """The first n samples of `seed` as one picture, uint8 [h, w, c]."""
  return image_grid(
    sampling.generate_images(gan, weights, sampling.fixed_latents(gan.latent, seed, n))
  )


def interpolation_grid(
  gan: Gan, weights: Weights, seed: int, rows: int = _ROWS, columns: int = 12
) -> np.ndarray:
  """Each row walks from one fixed latent to another, in one class; uint8 [h, w, c]."""
  ends = sampling.fixed_latents(gan.latent, seed, 2 * rows)
  paths = [
    latents_lib.interpolate_latents(gan.latent, ends[2 * i], ends[2 * i + 1], columns)
    for i in range(rows)
  ]
  labels = jnp.repeat(jnp.arange(rows) % gan.n_classes, columns) if gan.n_classes else None
  return image_grid(sampling.generate_images(gan, weights, jnp.concatenate(paths), labels), columns)


def nearest_neighbour_grid(
  gan: Gan, weights: Weights, seed: int, dataset: Dataset, n: int = 20
) -> np.ndarray:
  """Samples in odd columns, each with its nearest training image to the right; uint8 [h, w, c].

  A generator that remembers the data shows pairs of twins (Figure 2 of Goodfellow et al., 2014).
  """
  fakes = sampling.generate_images(gan, weights, sampling.fixed_latents(gan.latent, seed, n))
  pairs = np.stack([fakes, dataset.train[nearest_image(fakes, dataset.train)]], axis=1)
  return image_grid(pairs.reshape(-1, *fakes.shape[1:]), columns=10)
