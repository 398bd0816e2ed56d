"""Shows by which pixels a convolutional probe tells real images from samples, by expected gradients."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import ndimage

from gan_jax.diagnosis import convolutional_probes
from gan_jax.diagnosis.convolutional_probes import CROP, FittedProbe, Params, ProbeNetwork

_N_DRAWS = 16  # images of the other set with which each image is compared at a time
_N_REPEATS = 4  # of whole images; crops overlap
_OVERLAP = 128  # pixels, longest side of images whose crops overlap
_SMOOTHING = 3  # pixels, side of the square over which a map is averaged


class PixelEvidence(NamedTuple):
  """Holds images, the first half real and the other half samples, with what each of their pixels tells."""

  images: np.ndarray  # uint8 [2 n, h, w, c]
  maps: (
    np.ndarray
  )  # float32 [2 n, h, w], change of the logit in nats; 0 where a pixel tells nothing


def find_pixel_evidence(
  probe: FittedProbe, real: np.ndarray, fake: np.ndarray, n: int = 8, seed: int = 0
) -> PixelEvidence:
  """Returns what each pixel of n real images and of n samples adds to the evidence for its own set.

  The logit of an image minus the mean logit of the other set is divided among its pixels by expected gradients
  (Erion et al., 2021): gradients at random places between the image and images of the other set, times
  their difference. Where pixels speak for the wrong set the map is 0. The images are spread over the half of
  which the probe is surer.

  Args:
    probe: a trained network.
    real: held-out images uint8 [m, h, w, c], on which the probe was not trained, at least n.
    fake: samples uint8 [k, h, w, c], likewise.
    n: images of each set.
    seed: of the comparisons.
  """
  rng = np.random.default_rng([seed, 0x5A11])
  images, maps = [], []
  for own, other, sign in ((real, fake, 1), (fake, real, -1)):
    logits = sign * convolutional_probes.predict_logits(probe, own)
    ranks = np.linspace(0, len(own) // 2, n, endpoint=False).astype(int)
    chosen = own[np.argsort(-logits, kind='stable')[ranks]]
    told = sign * _contributions(probe, chosen, other, rng)
    smooth = ndimage.uniform_filter(told, (0, _SMOOTHING, _SMOOTHING))
    images.append(chosen)
    maps.append(np.maximum(smooth, 0).astype(np.float32))
  return PixelEvidence(np.concatenate(images), np.concatenate(maps))


def _contributions(
  probe: FittedProbe, images: np.ndarray, others: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Divides logits of images [n, h, w, c] among their pixels, as means over the crops that cover a pixel."""
  n, *sides = images.shape[:3]
  size = [min(CROP, side) for side in sides]
  if not convolutional_probes.is_cropped(images.shape):
    size = sides
  total, count = np.zeros((n, *sides)), np.zeros(sides)
  places = np.stack(np.meshgrid(*map(_places, sides, size), indexing='ij'), -1).reshape(-1, 2)
  for place in places.repeat(_N_REPEATS if len(places) == 1 else 1, axis=0):
    at = np.tile(place, (n * _N_DRAWS, 1))
    values, corner, pitch = convolutional_probes.crop(images, at[:n], tuple(size))
    drawn = others[rng.integers(0, len(others), len(at))]
    drawn = convolutional_probes.crop(drawn, at, tuple(size)).values
    step = rng.random((len(at), 1, 1, 1)).astype(np.float32)
    arrays = (values, drawn, step, corner, pitch, probe.scale)
    y, x = np.rint(place * np.subtract(sides, size)).astype(int)
    window = (slice(y, y + size[0]), slice(x, x + size[1]))
    total[:, *window] += np.asarray(_path_gradients(probe.network, probe.params, *arrays))
    count[window] += 1
  return total / count


def _places(side: int, size: int) -> np.ndarray:
  """Returns relative places in [0, 1] of windows that cover a side, of a short one twice."""
  n = -(-side // size)
  return np.linspace(0, 1, 2 * n - 1 if side <= _OVERLAP else n) if n > 1 else np.zeros(1)


@functools.partial(jax.jit, static_argnums=0)
def _path_gradients(
  network: ProbeNetwork,
  params: Params,
  values: Array,
  drawn: Array,
  step: Array,
  corner: Array,
  pitch: Array,
  scale: Array,
) -> Array:
  """Returns what pixels of `values` [n, h, w, c] contribute, [n, h, w], as a mean over d images for each.

  Gradients are taken at `step` [n d, 1, 1, 1], from 0 at `drawn` [n d, h, w, c] to 1 at `values`.
  """
  n, d = len(values), len(drawn) // len(values)
  corners = jnp.tile(corner, (d, 1))
  start = convolutional_probes.network_inputs(drawn, corners, pitch, scale)
  end = convolutional_probes.network_inputs(jnp.tile(values, (d, 1, 1, 1)), corners, pitch, scale)
  logit = lambda x: jnp.asarray(network.apply(params, x)).sum()
  gradients = jax.grad(logit)(start + step * (end - start))
  told = (gradients * (end - start)).sum(axis=3)
  return told.reshape(d, n, *told.shape[1:]).mean(axis=0)
