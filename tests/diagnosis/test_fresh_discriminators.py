"""Tests that the bound of probes is below the divergence, and near it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.data.synthetic import SYNTHETIC, optimal_discriminator
from gan_jax.diagnosis import example_splits, fresh_discriminators
from gan_jax.metrics import jsd_bound
from tests.helpers.perturbed_densities import PERTURBED_DENSITIES

CASES = [
  (data, density) for data, densities in PERTURBED_DENSITIES.items() for density in densities
]


def draw(sample, seed, n):
  return np.asarray(jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(seed), n)))


def probe_bound(real, fake, sigma=0.0, seed=0):
  (split,) = example_splits.paired_splits(real, fake, 1, seed)
  parts = [
    fresh_discriminators.ProbeSplits(*part.take(x))
    for part, x in ((split.real, real), (split.fake, fake))
  ]
  probe = fresh_discriminators.train_vector_probes(seed, 'points', *parts, sigma)
  return jsd_bound.jsd_bound(probe.real, probe.fake)


def bound_and_divergence(data, perturbed, n, seed=0):
  truth, density = SYNTHETIC[data], PERTURBED_DENSITIES[data][perturbed]
  real, fake = draw(truth.sample, 3 * seed + 1, n), draw(density.sample, 3 * seed + 2, n)
  std = real.std()
  bound = probe_bound(real / std, fake / std, seed=seed)
  sets = (jnp.asarray(draw(s, i, 40_000)) for i, s in ((91, truth.sample), (92, density.sample)))
  exact = optimal_discriminator.jsd_by_sampling(truth.log_density, density.log_density, *sets)
  return bound, float(exact.value)


@pytest.mark.parametrize(('data', 'perturbed'), [('gaussian', 'shifted'), ('gaussian', 'wide')])
def test_the_bound_is_near_the_divergence_and_not_above_it(data, perturbed):
  bound, divergence = bound_and_divergence(data, perturbed, 4000)
  assert bound.low <= divergence
  assert bound.value >= 0.7 * divergence


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
def test_the_bound_reaches_four_fifths_of_the_divergence_and_never_exceeds_it(seed):
  # Exceeds by more than its interval; 80,000 examples reach where 20,000 do not.
  over, short = [], []
  for n, cases in ((20_000, CASES), (80_000, short)):
    for data, perturbed in list(cases):
      bound, divergence = bound_and_divergence(data, perturbed, n, seed)
      interval = f'[{bound.low:.4f}, {bound.high:.4f}]'
      print(
        f'{data} {perturbed}: {bound.value:.4f} {interval} of {divergence:.4f}, n {n}', flush=True
      )
      # An interval of 95 % misses once in forty on either side, so allow another half of it.
      if bound.value - divergence > 1.5 * (bound.value - bound.low):
        over.append((data, perturbed))
      if n > 20_000:
        assert bound.value >= 0.8 * divergence
      elif bound.value < 0.8 * divergence:
        short.append((data, perturbed))
  assert len(CASES) == 26
  assert not over


def test_the_bound_of_real_against_real_is_zero():
  real, other = (draw(SYNTHETIC['ring'].sample, i, 4000) for i in (1, 2))
  assert -0.01 < probe_bound(real, other).value < 0.005


def test_noise_hides_finer_differences():
  real = draw(SYNTHETIC['ring'].sample, 1, 4000)
  fake = draw(PERTURBED_DENSITIES['ring']['wide'].sample, 2, 4000)
  assert probe_bound(real, fake).value > 0.1
  assert probe_bound(real, fake, sigma=0.5).value < 0.01


def test_kernel_density_features_are_log_ratios_of_kernel_densities():
  rng = np.random.default_rng(0)
  real, fake, points = (rng.normal(size=(n, 2)).astype(np.float32) for n in (300, 200, 50))
  features = np.asarray(
    fresh_discriminators.kernel_density_features(*(jnp.asarray(x) for x in (points, real, fake)))
  )
  squares = lambda a, b: np.sum((a[:, None] - b[None]) ** 2, axis=-1)
  between_real = squares(real, real) + np.diag(np.full(300, np.inf))
  width = np.sqrt(np.median(between_real.min(axis=1)))
  for column, factor in ((0, 32), (3, 4), (5, 1)):
    scale = 2 * (factor * width) ** 2
    log_real, log_fake = (
      np.log(np.exp(-squares(points, x) / scale).mean(axis=1)) for x in (real, fake)
    )
    computable = (log_real > -30) & (log_fake > -30)
    np.testing.assert_allclose(
      features[computable, column], (log_real - log_fake)[computable], atol=2e-2
    )


@pytest.mark.parametrize('width', fresh_discriminators.HIDDEN_WIDTHS)
def test_a_masked_probe_equals_a_narrow_one(width):
  params = fresh_discriminators.init_probe(jax.random.key(0), 3) | {
    'out': jnp.ones(max(fresh_discriminators.HIDDEN_WIDTHS))
  }
  x = jax.random.normal(jax.random.key(1), (20, 3))
  scale = np.sqrt(max(fresh_discriminators.HIDDEN_WIDTHS) / max(width, 1))
  hidden = jax.nn.relu(x @ params['in'][:, :width])
  hidden = jax.nn.relu(scale * hidden @ params['hidden'][:width, :width])
  expected = hidden.sum(axis=1)
  np.testing.assert_allclose(
    fresh_discriminators.apply_probe(params, jnp.asarray(width), x), expected, atol=1e-3
  )
