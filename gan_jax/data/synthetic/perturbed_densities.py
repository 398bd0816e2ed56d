"""Densities q beside each game's p: what a generator might have learned, with everything about it known."""

import math

import numpy as np

from gan_jax.data.synthetic import curves, mixtures
from gan_jax.data.synthetic.distribution import Density, blended, shifted


def _background(centre: np.ndarray, sigma: float) -> Density:
  return mixtures.density(mixtures.mixture(centre[None], sigma))


def perturbed_mixtures(mix: mixtures.Mixture) -> dict[str, Density]:
  """Right but for one thing: place (by one sigma), width, a tenth of noise, half of the modes, weights."""
  truth, sigma = mixtures.density(mix), float(mix.sigmas[0])
  m, d = mix.centres.shape
  spread = 0.3 * np.abs(mix.centres).max()
  rivals = {
    'shifted': shifted(truth, np.full(d, sigma / math.sqrt(d))),
    'narrow': mixtures.density(mixtures.widened(mix, 0.5)),
    'wide': mixtures.density(mixtures.widened(mix, 2.0)),
    'noisy': blended(truth, _background(mix.centres.mean(axis=0), max(spread, 3 * sigma)), 0.1),
  }
  if m > 1:
    rivals['missing'] = mixtures.density(mixtures.without_components(mix, range(m // 2)))
    rivals['uneven'] = mixtures.density(mixtures.reweighted(mix, range(1, m + 1)))
  return rivals


def perturbed_curves(curve: curves.Curve, centre: np.ndarray) -> dict[str, Density]:
  """Right but for one thing: place (by the noise), width, a tenth of noise about `centre` [2], or an arm."""
  truth = curves.density(curve)
  return {
    'shifted': shifted(truth, np.full(2, curve.noise / math.sqrt(2))),
    'narrow': curves.density(curve._replace(noise=0.5 * curve.noise)),
    'wide': curves.density(curve._replace(noise=2 * curve.noise)),
    'noisy': blended(truth, _background(centre, 0.3), 0.1),
    'missing': curves.density(curves.first_arm(curve)),
  }


PERTURBED_DENSITIES: dict[str, dict[str, Density]] = {
  'gaussian': perturbed_mixtures(mixtures.gaussian()),
  'ring': perturbed_mixtures(mixtures.ring()),
  'grid': perturbed_mixtures(mixtures.grid()),
  'moons': perturbed_curves(curves.moons(), np.array([0.5, 0.25])),
  'spiral': perturbed_curves(curves.spiral(), np.zeros(2)),
}
