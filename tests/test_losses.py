import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from gan_jax.losses import LOSSES, weigh_discriminator

REAL = jnp.array([-3.0, 0.2, 1.5, 9.0])
FAKE = jnp.array([-8.0, -0.4, 0.9, 2.0])


@pytest.mark.parametrize('loss', LOSSES)
def test_discriminator_loss_is_2_log_2_at_equilibrium(loss):
  undecided = jnp.zeros(5)
  value = LOSSES[loss].discriminator(undecided, undecided)
  assert value == pytest.approx(2 * np.log(2), rel=1e-6)
  half = weigh_discriminator(LOSSES[loss], 0.5).discriminator(undecided, undecided)
  assert half == pytest.approx(np.log(2), rel=1e-6)


def test_losses_equal_the_formulas_of_the_paper_in_float64():
  real, fake = expit(np.asarray(REAL, float)), expit(np.asarray(FAKE, float))
  d_loss = -np.mean(np.log(real)) - np.mean(np.log(1 - fake))
  for loss in LOSSES.values():
    assert loss.discriminator(REAL, FAKE) == pytest.approx(d_loss, rel=1e-5)
  assert LOSSES['saturating'].generator(REAL, FAKE) == pytest.approx(
    np.mean(np.log(1 - fake)), rel=1e-5
  )
  assert LOSSES['non_saturating'].generator(REAL, FAKE) == pytest.approx(
    -np.mean(np.log(fake)), rel=1e-5
  )


def test_half_the_loss_is_the_cross_entropy_on_the_equal_mixture():
  logits = np.concatenate([REAL, FAKE]).astype(float)
  labels = np.repeat([1.0, 0.0], 4)
  p = expit(logits)
  mixture = -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))
  half = weigh_discriminator(LOSSES['non_saturating'], 0.5)
  assert half.discriminator(REAL, FAKE) == pytest.approx(mixture, rel=1e-5)
  assert half.generator is LOSSES['non_saturating'].generator


def test_gradient_ratio_of_the_two_generator_losses_is_the_odds_against_the_sample():
  """d/df of -log D is -(1 - D), of log(1 - D) is -D: their ratio is (1 - D) / D = exp(-f)."""
  saturating = jax.grad(LOSSES['saturating'].generator, 1)(REAL, FAKE)
  non_saturating = jax.grad(LOSSES['non_saturating'].generator, 1)(REAL, FAKE)
  np.testing.assert_allclose(non_saturating / saturating, np.exp(-FAKE), rtol=1e-5)
  assert np.all(saturating < 0)  # one direction, hence the same fixed points
  assert np.all(non_saturating < 0)


@pytest.mark.parametrize('logit', [-1e4, -60.0, 60.0, 1e4])
@pytest.mark.parametrize('loss', LOSSES)
def test_losses_and_gradients_stay_finite_at_certain_discriminators(loss, logit):
  x = jnp.full(3, logit)
  for fn in LOSSES[loss]:
    value, grads = jax.value_and_grad(fn, (0, 1))(x, -x)
    assert jnp.isfinite(value)
    assert all(bool(jnp.isfinite(g).all()) for g in grads)


def test_the_non_saturating_gradient_survives_where_the_saturating_one_fades():
  rejected = jnp.full(1, -30.0)
  assert abs(jax.grad(LOSSES['saturating'].generator, 1)(REAL, rejected)[0]) < 1e-12
  assert abs(jax.grad(LOSSES['non_saturating'].generator, 1)(REAL, rejected)[0]) > 0.99
