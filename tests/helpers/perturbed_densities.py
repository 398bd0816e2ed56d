"""Defines densities q that differ from a synthetic density p in one known way, as models with a known fault."""

import math

import numpy as np

from gan_jax.data.synthetic import mixtures, moons_and_spirals
from gan_jax.data.synthetic.distribution import Density, blended, shifted


def _gaussian(centre: np.ndarray, sigma: float) -> Density:
  return mixtures.density(mixtures.mixture(centre[None], sigma))


def perturbed_mixtures(mix: mixtures.Mixture) -> dict[str, Density]:
  """Returns copies of `mix` with one fault each, by the fault's name.

  Shifted by one sigma, half or twice as wide, with 10 % of background noise; and for several modes,
  without the first half of them, or with weights proportional to 1, ..., m.
  """
  truth, sigma = mixtures.density(mix), float(mix.sigmas[0])
  m, d = mix.centres.shape
  noise_sigma = max(0.3 * np.abs(mix.centres).max(), 3 * sigma)
  densities = {
    'shifted': shifted(truth, np.full(d, sigma / math.sqrt(d))),
    'narrow': mixtures.density(mixtures.widened(mix, 0.5)),
    'wide': mixtures.density(mixtures.widened(mix, 2.0)),
    'noisy': blended(truth, _gaussian(mix.centres.mean(axis=0), noise_sigma), 0.1),
  }
  if m > 1:
    densities['missing'] = mixtures.density(mixtures.without_components(mix, range(m // 2)))
    densities['uneven'] = mixtures.density(mixtures.reweighted(mix, range(1, m + 1)))
  return densities


def perturbed_curves(curve: moons_and_spirals.Curve, centre: np.ndarray) -> dict[str, Density]:
  """Returns copies of `curve` with one fault each, by the fault's name.

  Shifted by the noise's sigma, half or twice as wide, with 10 % of background noise around `centre` [2],
  or with the first arm only.
  """
  truth = moons_and_spirals.density(curve)
  return {
    'shifted': shifted(truth, np.full(2, curve.noise / math.sqrt(2))),
    'narrow': moons_and_spirals.density(curve._replace(noise=0.5 * curve.noise)),
    'wide': moons_and_spirals.density(curve._replace(noise=2 * curve.noise)),
    'noisy': blended(truth, _gaussian(centre, 0.3), 0.1),
    'missing': moons_and_spirals.density(moons_and_spirals.first_arm(curve)),
  }


PERTURBED_DENSITIES: dict[str, dict[str, Density]] = {  # by distribution, then by fault
  'gaussian': perturbed_mixtures(mixtures.gaussian()),
  'ring': perturbed_mixtures(mixtures.ring()),
  'grid': perturbed_mixtures(mixtures.grid()),
  'moons': perturbed_curves(moons_and_spirals.moons(), np.array([0.5, 0.25])),
  'spiral': perturbed_curves(moons_and_spirals.spiral(), np.zeros(2)),
}
