"""Shows where in real images a convolutional probe sees the difference to samples, by exchanging patches."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from gan_jax.diagnosis import convolutional_probes
from gan_jax.diagnosis.convolutional_probes import CROP, FittedProbe, Pixels
from gan_jax.diagnosis.image_probes import fit_image_probes
from gan_jax.diagnosis.probe_types import ExampleParts

_N_DONORS = 4  # samples, and as many real images, from which each patch is taken
_N_PLACES = 15  # along each side, at most
_PATCHES = 6  # along the side of what the network sees


class Saliency(NamedTuple):
  """Holds saliency maps of real images, from 0 to 1, and the rows of these images in the test part."""

  maps: np.ndarray  # float32 [n, h, w]
  indices: np.ndarray  # int [n]


def saliency(
  seed: int, real: ExampleParts, fake: ExampleParts, n: int, probe: FittedProbe | None = None
) -> Saliency:
  """Returns maps of the n real test images that a probe is surest of.

  A map shows how far the logit falls when a patch is replaced by the same patch of samples, less its fall
  for patches of other real images, which have seams, too. 1 is the largest fall in all maps. `probe` is
  the network of `fit_image_probes` on the same parts, which is trained here if None.
  """
  probe = fit_image_probes(seed, real, fake).network if probe is None else probe
  logits = convolutional_probes.predict_logits(probe, real.test)
  indices = np.argsort(-logits, kind='stable')[:n]
  rng = np.random.default_rng([seed, 0x5A11])
  maps = np.stack(
    [_saliency_map(probe, real.test[i], real.train, fake.train, rng) for i in indices]
  )
  return Saliency((maps / max(float(maps.max()), 1e-6)).astype(np.float32), indices)


def _saliency_map(
  probe: FittedProbe,
  image: np.ndarray,
  real: np.ndarray,
  fake: np.ndarray,
  rng: np.random.Generator,
) -> np.ndarray:
  """Returns the fall of the logit at each pixel of an image [h, w, c]: the mean of the patches that hold it."""
  sides = np.asarray(image.shape[:2])
  view = np.minimum(sides, CROP) if convolutional_probes.is_cropped((1, *image.shape)) else sides
  patch = np.maximum(view // _PATCHES, 2)
  places = [
    np.unique(np.linspace(0, side - size, min(_N_PLACES, 2 * side // size)).round().astype(int))
    for side, size in zip(sides, patch, strict=True)
  ]
  donors = [x[rng.integers(0, len(x), _N_DONORS)] for x in (fake, real)]
  changed, corners = [], []
  for y in places[0]:
    for x in places[1]:
      start = np.clip(np.asarray([y, x]) + patch // 2 - view // 2, 0, sides - view)
      cut = (slice(y, y + patch[0]), slice(x, x + patch[1]))
      seen = (slice(start[0], start[0] + view[0]), slice(start[1], start[1] + view[1]))
      for donor in np.concatenate(donors):
        copy = image.copy()
        copy[cut] = donor[cut]
        changed.append(copy[seen])
        corners.append(start)
  pitch = (2 / np.maximum(sides - 1, 1)).astype(np.float32)
  pixels = Pixels(np.stack(changed), (np.stack(corners) * pitch - 1).astype(np.float32), pitch)
  logits = convolutional_probes.pixel_logits(probe.network, probe.params, pixels, probe.scale)
  by_set = logits.reshape(len(places[0]), len(places[1]), 2, _N_DONORS).mean(axis=3)
  falls = np.maximum(by_set[..., 1] - by_set[..., 0], 0)
  total, count = np.zeros(sides), np.zeros(sides)
  for i, y in enumerate(places[0]):
    for j, x in enumerate(places[1]):
      cut = (slice(y, y + patch[0]), slice(x, x + patch[1]))
      total[cut] += falls[i, j]
      count[cut] += 1
  return ndimage.gaussian_filter(total / np.maximum(count, 1), patch / 4)
