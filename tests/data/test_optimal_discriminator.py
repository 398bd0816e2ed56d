import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate, stats
from scipy.spatial.distance import jensenshannon

from gan_jax.data.synthetic import SYNTHETIC, density_of, mixtures
from gan_jax.data.synthetic.distribution import Density, shifted
from gan_jax.data.synthetic.optimal_discriminator import (
  jsd_by_quadrature,
  jsd_by_sampling,
  jsd_of_histograms,
  optimal_logit,
  optimal_loss,
)
from gan_jax.gan.losses import LOSSES
from tests.helpers.perturbed_densities import PERTURBED_DENSITIES

WIDE_EXTENT = {'gaussian': (-11.0, 13.0)}  # where a perturbed density exceeds `extent`
TWO_MODES = mixtures.mixture(np.array([[-1.0], [1.5]]), np.array([0.4, 0.3]), [0.6, 0.4])


def scipy_jsd(p, q, low, high):
  """Jensen-Shannon divergence of two SciPy distributions on a line."""

  def integrand(x):
    a, b = p.pdf(x), q.pdf(x)
    middle = (a + b) / 2
    return (a * np.log(a / middle) + b * np.log(b / middle)) / 2

  return integrate.quad(integrand, low, high)[0]


def draws(density, seed, n):
  return jax.jit(jax.vmap(density.sample))(jax.random.split(jax.random.key(seed), n))


@pytest.mark.parametrize('p', [[0.5, 0.5, 0], [0.2, 0.3, 0.5], [1, 0, 0]])
def test_jsd_of_histograms_equals_scipy(p):
  p, q = np.array(p, float), np.array([0.1, 0.6, 0.3])
  actual = jsd_of_histograms(jnp.asarray(p), jnp.asarray(q))
  assert float(actual) == pytest.approx(jensenshannon(p, q) ** 2, abs=1e-6)


@pytest.mark.parametrize(
  ('fault', 'mean_and_std'),
  [('shifted', (1.5, 0.5)), ('narrow', (1.0, 0.25)), ('wide', (1.0, 1.0))],
)
def test_quadrature_on_the_line_equals_scipy(fault, mean_and_std):
  p, q = density_of(SYNTHETIC['gaussian']), PERTURBED_DENSITIES['gaussian'][fault]
  actual = jsd_by_quadrature(p.log_density, q.log_density, (-5.0, 7.0), 2000)
  expected = scipy_jsd(stats.norm(1, 0.5), stats.norm(*mean_and_std), -5, 7)
  assert float(actual) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
  ('name', 'fault', 'weights'),
  [
    ('ring', 'missing', [0] * 4 + [1] * 4),
    ('grid', 'missing', [0] * 12 + [1] * 13),
    ('grid', 'uneven', range(1, 26)),
  ],
)
def test_quadrature_equals_the_closed_form_for_missing_modes_and_uneven_weights(
  name, fault, weights
):
  p, q = density_of(SYNTHETIC[name]), PERTURBED_DENSITIES[name][fault]
  shares = jnp.asarray(list(weights)) / sum(weights)
  expected = float(jsd_of_histograms(jnp.full(len(shares), 1 / len(shares)), shares))
  actual = jsd_by_quadrature(p.log_density, q.log_density, SYNTHETIC[name].extent, 500)
  assert float(actual) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
  ('name', 'fault'),
  [
    ('gaussian', 'wide'),
    ('gaussian', 'noisy'),
    ('ring', 'shifted'),
    ('grid', 'noisy'),
    ('moons', 'missing'),
  ],
)
def test_sampling_agrees_with_quadrature(name, fault):
  """Within four standard errors, so samplers and densities match."""
  p, q = density_of(SYNTHETIC[name]), PERTURBED_DENSITIES[name][fault]
  extent = WIDE_EXTENT.get(name, SYNTHETIC[name].extent)
  cells, n = (150, 1500) if name == 'moons' else (600, 5000)
  logs = p.log_density, q.log_density
  exact = jax.jit(lambda: jsd_by_quadrature(*logs, extent, cells))()
  sampled = jax.jit(lambda a, b: jsd_by_sampling(*logs, a, b))
  estimate = sampled(draws(p, 0, n), draws(q, 1, n))
  assert 0 < estimate.standard_error < 0.02
  assert abs(float(estimate.value - exact)) < 4 * float(estimate.standard_error) + 1e-4


def test_the_standard_error_of_sampling_equals_its_standard_deviation():
  p, q = density_of(SYNTHETIC['gaussian']), PERTURBED_DENSITIES['gaussian']['wide']
  estimate = jax.jit(
    lambda a, b: jsd_by_sampling(p.log_density, q.log_density, a[:, None], b[:, None])
  )
  xs = 1 + 0.5 * jax.random.normal(jax.random.key(0), (300, 200))
  ys = 1 + 1.0 * jax.random.normal(jax.random.key(1), (300, 200))
  values, errors = jax.vmap(estimate)(xs, ys)
  assert float(values.std()) == pytest.approx(float(errors.mean()), rel=0.15)


def test_equal_densities_have_a_divergence_of_0_and_a_loss_of_log_4():
  p = density_of(SYNTHETIC['gaussian'])
  jsd = jsd_by_quadrature(p.log_density, p.log_density, (-3.0, 5.0))
  assert float(jsd) == pytest.approx(0, abs=1e-6)
  assert float(optimal_loss(jsd)) == pytest.approx(np.log(4), abs=1e-5)
  x = draws(p, 0, 50)
  assert not jax.vmap(optimal_logit(*[p.log_density] * 2))(x).any()


def test_disjoint_densities_have_a_divergence_of_log_2_and_a_loss_of_0():
  p = density_of(SYNTHETIC['gaussian'])
  far = shifted(p, np.array([40.0]))
  jsd = jsd_by_quadrature(p.log_density, far.log_density, (-5.0, 50.0), 2000)
  assert float(jsd) == pytest.approx(np.log(2), abs=1e-5)
  assert float(optimal_loss(jsd)) == pytest.approx(0, abs=1e-4)


def test_densities_may_be_zero():
  """Uniform on [0, 1] and on [1/2, 3/2], integrated over [-1, 3]."""

  def uniform(low):
    inside = lambda x: (x[0] > low) & (x[0] < low + 1)
    return lambda x: jnp.where(inside(x), 0.0, -jnp.inf)

  jsd = jsd_by_quadrature(uniform(0.0), uniform(0.5), (-1.0, 3.0), 4000)
  assert float(jsd) == pytest.approx(np.log(2) / 2, abs=1e-3)


@pytest.mark.parametrize('fault', PERTURBED_DENSITIES['gaussian'])
def test_the_optimal_logit_has_the_optimal_loss_and_any_other_a_higher_one(fault):
  p, q = density_of(SYNTHETIC['gaussian']), PERTURBED_DENSITIES['gaussian'][fault]
  jsd = jsd_by_quadrature(p.log_density, q.log_density, WIDE_EXTENT['gaussian'], 2000)
  optimal = optimal_logit(p.log_density, q.log_density)
  assert expected_d_loss(optimal, p, q) == pytest.approx(float(optimal_loss(jsd)), abs=1e-5)
  for wrong in (lambda x: optimal(x) + 0.1, lambda x: optimal(x) * 0.8, lambda x: optimal(-x)):
    assert expected_d_loss(wrong, p, q) > optimal_loss(jsd) + 1e-4


def expected_d_loss(logit, p, q):
  """D's expected loss, by Simpson's rule on a fine grid of [-11, 13]."""
  x = jnp.linspace(-11, 13, 4801)[:, None]
  logits = np.asarray(jax.vmap(logit)(x), float)
  at_p, at_q = (np.exp(np.asarray(jax.vmap(d.log_density)(x), float)) for d in (p, q))
  values = at_p * np.logaddexp(0, -logits) + at_q * np.logaddexp(0, logits)
  return integrate.simpson(values, x=np.asarray(x[:, 0], float))


def train_logit(logit, params, p, q, *, steps=400, batch=250, lr=0.03):
  """Trains the parameters of `logit(params, x)` by Adam on fresh draws of p and q."""
  tx = optax.adam(optax.cosine_decay_schedule(lr, steps))

  def loss(params, key):
    keys = jax.random.split(key, (2, batch))
    real, fake = (
      jax.vmap(lambda x: logit(params, x))(jax.vmap(density.sample)(keys))
      for density, keys in zip((p, q), keys, strict=True)
    )
    return LOSSES['non_saturating'].discriminator(real, fake)

  def step(carry, key):
    params, state = carry
    updates, state = tx.update(jax.grad(loss)(params, key), state, params)
    return (optax.apply_updates(params, updates), state), None

  keys = jax.random.split(jax.random.key(0), steps)
  return jax.jit(lambda start: jax.lax.scan(step, start, keys)[0][0])((params, tx.init(params)))


@pytest.mark.parametrize('fault', ['shifted', 'narrow', 'wide'])
def test_a_trained_quadratic_discriminator_of_gaussians_becomes_the_optimal_one(fault):
  """log p - log q of two Gaussians is quadratic."""
  p, q = density_of(SYNTHETIC['gaussian']), PERTURBED_DENSITIES['gaussian'][fault]

  def logit(params, x):
    u = (x[0] - 1) / 0.5
    return params @ jnp.stack([jnp.ones(()), u, u**2])

  params = train_logit(logit, jnp.zeros(3), p, q)
  x = jnp.linspace(0, 2, 21)[:, None]  # the mean of p +- two sigmas
  optimal = jax.vmap(optimal_logit(p.log_density, q.log_density))(x)
  actual = jax.vmap(lambda x: logit(params, x))(x)
  np.testing.assert_allclose(jax.nn.sigmoid(actual), jax.nn.sigmoid(optimal), atol=0.03)
  check_loss(lambda x: logit(params, x), p, q, 0.005)


@pytest.mark.parametrize('weights', [[1, 0], [0.1, 0.9]])
def test_a_trained_network_becomes_the_optimal_discriminator_of_lost_modes(weights):
  p, q = mixtures.density(TWO_MODES), mixtures.density(mixtures.reweighted(TWO_MODES, weights))
  sizes = [1, 24, 24, 1]
  keys = jax.random.split(jax.random.key(1), 3)
  params = [
    (jax.random.normal(key, (n, m)) / n**0.5, jnp.zeros(m))
    for key, n, m in zip(keys, sizes, sizes[1:], strict=False)
  ]

  def logit(params, x):
    *hidden, (w, b) = params
    for weight, bias in hidden:
      x = jnp.tanh(x @ weight + bias)
    return (x @ w + b)[0]

  params = train_logit(logit, params, p, q, lr=0.01)
  x = draws(p, 5, 500)
  optimal = jax.vmap(optimal_logit(p.log_density, q.log_density))(x)
  actual = jax.vmap(lambda x: logit(params, x))(x)
  error = jnp.abs(jax.nn.sigmoid(actual) - jax.nn.sigmoid(optimal))
  assert float(error.mean()) < 0.03
  check_loss(lambda x: logit(params, x), p, q, 0.01)


def check_loss(logit, p: Density, q: Density, tolerance):
  """Asserts that the expected loss exceeds log 4 - 2 JSD by less than `tolerance`."""
  jsd = jsd_by_quadrature(p.log_density, q.log_density, WIDE_EXTENT['gaussian'], 4000)
  excess = expected_d_loss(logit, p, q) - float(optimal_loss(jsd))
  assert -1e-5 < excess < tolerance
