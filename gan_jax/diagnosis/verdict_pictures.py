"""Draws pictures that explain a verdict on images: where samples differ from data, and the closest copies."""

from PIL import Image

from gan_jax.diagnosis import pixel_evidence
from gan_jax.diagnosis.diagnostic_statistics import DiagnosticStatistics
from gan_jax.evaluation.copy_pictures import draw_copies
from gan_jax.evaluation.saliency_pictures import draw_saliency

_N_IMAGES = 6  # of each set


def draw_verdict_pictures(
  statistics: DiagnosticStatistics, seed: int = 0
) -> dict[str, Image.Image]:
  """Returns pictures by kind, 'difference' and 'copies'; none for points.

  'difference' is left out where the best probe finds no more than it would between equal sets.
  """
  best, network = statistics.separation.probes[0], statistics.separation.network
  pictures = {}
  if network is not None and best.bound.value > best.chance:
    n = min(_N_IMAGES, len(network.real), len(network.fake))
    found = pixel_evidence.find_pixel_evidence(*network, n, seed)
    pictures['difference'] = draw_saliency(found.images, found.maps)
  copies, copied = statistics.copies, statistics.copied
  if copies is not None and copied is not None and copied[0].ndim == 4:
    _, _, distances, how = zip(*copies.pairs, strict=True)
    pictures['copies'] = draw_copies(*copied, how, distances)
  return pictures
