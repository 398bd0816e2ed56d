"""Shows where in real images a convolutional probe sees what samples lack: gradients of its logit by pixels."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import ndimage

from gan_jax.diagnosis import convolutional_probes
from gan_jax.diagnosis.convolutional_probes import CROP, FittedProbe, Params, ProbeNetwork
from gan_jax.diagnosis.image_probes import fit_image_probes
from gan_jax.diagnosis.probe_types import ExampleParts

_N_DRAWS = 4  # noisy copies of an image over which gradients are averaged
_NOISE = 6.0  # grey levels, of these copies
_BLUR = 0.7  # pixels, of the map


class Saliency(NamedTuple):
  """Holds saliency maps of real images, from 0 to 1, and the rows of these images in the test part."""

  maps: np.ndarray  # float32 [n, h, w]
  indices: np.ndarray  # int [n]


def saliency(
  seed: int, real: ExampleParts, fake: ExampleParts, n: int, probe: FittedProbe | None = None
) -> Saliency:
  """Returns maps of the n real test images that a probe is surest of, by SmoothGrad (Smilkov et al., 2017).

  `probe` is the best network of `fit_image_probes` on the same parts, which is trained here if None.
  """
  probe = fit_image_probes(seed, real, fake).network if probe is None else probe
  logits = convolutional_probes.predict_logits(probe, real.test)
  indices = np.argsort(-logits, kind='stable')[:n]
  rng = np.random.default_rng([seed, 0x5A11])
  maps = np.stack([_saliency_map(probe, real.test[i], rng) for i in indices])
  return Saliency(maps, indices)


def _saliency_map(probe: FittedProbe, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Returns the mean size of gradients at each pixel of an image [h, w, c], over crops that cover it."""
  sides = image.shape[:2]
  if convolutional_probes.is_cropped((1, *image.shape)):
    crop = tuple(min(CROP, side) for side in sides)
    rows, columns = (
      np.linspace(0, side - size, 2 * -(-side // size) - 1).astype(int)
      for side, size in zip(sides, crop, strict=True)
    )
  else:
    crop, rows, columns = sides, np.zeros(1, int), np.zeros(1, int)
  pitch = (2 / np.maximum(np.asarray(sides) - 1, 1)).astype(np.float32)
  total, count = np.zeros(sides), np.zeros(sides)
  for y in rows:
    for x in columns:
      cut = (slice(y, y + crop[0]), slice(x, x + crop[1]))
      noise = rng.normal(0, _NOISE, (_N_DRAWS, *crop, image.shape[2]))
      corner = np.tile(np.asarray([y, x]) * pitch - 1, (_N_DRAWS, 1)).astype(np.float32)
      values = (image[cut][None] + noise).astype(np.float32)
      gradients = _gradients(probe.network, probe.params, values, corner, pitch, probe.scale)
      total[cut] += np.abs(gradients).sum(axis=3).mean(axis=0)
      count[cut] += 1
  smooth = ndimage.gaussian_filter(total / count, _BLUR)
  return (smooth / max(float(smooth.max()), 1e-12)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _gradients(
  network: ProbeNetwork, params: Params, values: Array, corner: Array, pitch: Array, scale: Array
) -> Array:
  """Returns the gradients [n, h, w, c] of the logits by grey levels `values` [n, h, w, c]."""

  def total(values: Array) -> Array:
    inputs = convolutional_probes.network_inputs(values, corner, pitch, scale)
    return jnp.asarray(network.apply(params, inputs)).sum()

  return jax.grad(total)(values)
