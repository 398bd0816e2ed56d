"""Fresh probes: what they find is never more than the truth, and most of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.data.synthetic import SYNTHETIC, optimal_discriminator
from gan_jax.data.synthetic.perturbed_densities import PERTURBED_DENSITIES
from gan_jax.diagnosis import probes
from gan_jax.metrics import two_sample

CASES = [(game, rival) for game, rivals in PERTURBED_DENSITIES.items() for rival in rivals]


def draw(sample, seed, n):
  return np.asarray(jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(seed), n)))


def found(game, rival, n, seed=0):
  """The probes' bound and the divergence itself, in nats."""
  truth, density = SYNTHETIC[game], PERTURBED_DENSITIES[game][rival]
  real, fake = draw(truth.sample, 3 * seed + 1, n), draw(density.sample, 3 * seed + 2, n)
  spread = real.std()
  answers = probes.train_probes(jax.random.key(seed), real / spread, fake / spread, 0.0, n)
  bound = two_sample.jsd_bound(*(np.asarray(x) for x in answers[:2]))
  sets = (jnp.asarray(draw(s, i, 40_000)) for i, s in ((91, truth.sample), (92, density.sample)))
  exact = optimal_discriminator.jsd_by_sampling(truth.log_density, density.log_density, *sets)
  return bound, float(exact.value)


@pytest.mark.parametrize(('game', 'rival'), [('gaussian', 'shifted'), ('gaussian', 'wide')])
def test_the_bound_is_near_the_truth_and_not_above_it(game, rival):
  bound, truth = found(game, rival, 4000)
  assert bound.low <= truth
  assert bound.value >= 0.7 * truth


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
def test_the_bound_reaches_four_fifths_of_the_truth_and_never_exceeds_it(seed):
  """By more than its interval. Where 20,000 examples of each do not reach, 80,000 do."""
  over, short = [], []
  for n, cases in ((20_000, CASES), (80_000, short)):
    for game, rival in list(cases):
      bound, truth = found(game, rival, n, seed)
      interval = f'[{bound.low:.4f}, {bound.high:.4f}]'
      print(f'{game} {rival}: {bound.value:.4f} {interval} of {truth:.4f}, n {n}', flush=True)
      # An interval of 95 % misses once in forty on either side, so allow another half of it.
      if bound.value - truth > 1.5 * (bound.value - bound.low):
        over.append((game, rival))
      if n > 20_000:
        assert bound.value >= 0.8 * truth
      elif bound.value < 0.8 * truth:
        short.append((game, rival))
  assert len(CASES) == 26
  assert not over


def test_of_real_against_real_nothing_is_found():
  real, other = (draw(SYNTHETIC['ring'].sample, i, 4000) for i in (1, 2))
  answers = probes.train_probes(jax.random.key(0), real, other, 0.0, 4000)
  bound = two_sample.jsd_bound(*(np.asarray(x) for x in answers[:2]))
  assert -0.01 < bound.value < 0.005


def test_noise_hides_what_is_finer_than_it():
  real, fake = (
    draw(SYNTHETIC['ring'].sample, 1, 4000),
    draw(PERTURBED_DENSITIES['ring']['wide'].sample, 2, 4000),
  )
  ask = functools.partial(probes.train_probes, jax.random.key(0), real, fake)
  bounds = [
    two_sample.jsd_bound(*(np.asarray(x) for x in ask(sigma, 4000)[:2])).value
    for sigma in (0.0, 0.5)
  ]
  assert bounds[0] > 0.1
  assert bounds[1] < 0.01


def test_parts_share_no_example():
  parts = probes.split_examples(jnp.arange(1000)[:, None], 900)
  seen = np.concatenate([np.asarray(x)[:, 0] for x in parts])
  assert sorted(seen) == list(range(900))
  assert [len(x) for x in parts] == [360, 270, 90, 180]


def test_kernel_odds_are_those_of_the_densities_they_are_made_of():
  rng = np.random.default_rng(0)
  real, fake, points = (rng.normal(size=(n, 2)).astype(np.float32) for n in (300, 200, 50))
  odds = np.asarray(probes.kernel_density_features(*(jnp.asarray(x) for x in (points, real, fake))))
  apart = lambda a, b: np.sum((a[:, None] - b[None]) ** 2, axis=-1)
  inside = apart(real, real) + np.diag(np.full(300, np.inf))
  width = np.sqrt(np.median(inside.min(axis=1)))
  for column, factor in ((0, 32), (3, 4), (5, 1)):
    scale = 2 * (factor * width) ** 2
    ours, theirs = (np.log(np.exp(-apart(points, x) / scale).mean(axis=1)) for x in (real, fake))
    known = (ours > -30) & (theirs > -30)
    np.testing.assert_allclose(odds[known, column], (ours - theirs)[known], atol=2e-2)


@pytest.mark.parametrize('width', probes.HIDDEN_WIDTHS)
def test_a_masked_probe_is_a_small_one(width):
  params = probes.init_probe(jax.random.key(0), 3) | {'out': jnp.ones(max(probes.HIDDEN_WIDTHS))}
  x = jax.random.normal(jax.random.key(1), (20, 3))
  scale = np.sqrt(max(probes.HIDDEN_WIDTHS) / max(width, 1))
  hidden = jax.nn.relu(x @ params['in'][:, :width])
  hidden = jax.nn.relu(scale * hidden @ params['hidden'][:width, :width])
  expected = hidden.sum(axis=1)
  np.testing.assert_allclose(probes.apply_probe(params, jnp.asarray(width), x), expected, atol=1e-3)
