import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from gan_jax.gan.losses import (
  LOSSES,
  SMOOTHABLE_LOSSES,
  Loss,
  scale_discriminator_loss,
  smooth_labels,
)

REAL = jnp.array([-3.0, 0.2, 1.5, 9.0])
FAKE = jnp.array([-8.0, -0.4, 0.9, 2.0])
CROSS_ENTROPY = ('non_saturating', 'saturating')


def relu(x):
  return np.maximum(x, 0)


# D's and G's loss as the papers write them, of float64 logits.
FORMULAS = {
  'non_saturating': (
    lambda r, f: -np.mean(np.log(expit(r))) - np.mean(np.log(1 - expit(f))),
    lambda r, f: -np.mean(np.log(expit(f))),
  ),
  'saturating': (
    lambda r, f: -np.mean(np.log(expit(r))) - np.mean(np.log(1 - expit(f))),
    lambda r, f: np.mean(np.log(1 - expit(f))),
  ),
  'least_squares': (
    lambda r, f: np.mean((r - 1) ** 2) / 2 + np.mean(f**2) / 2,
    lambda r, f: np.mean((f - 1) ** 2) / 2,
  ),
  'hinge': (
    lambda r, f: np.mean(relu(1 - r)) + np.mean(relu(1 + f)),
    lambda r, f: -np.mean(f),
  ),
  'wasserstein': (lambda r, f: np.mean(f) - np.mean(r), lambda r, f: -np.mean(f)),
  'relativistic': (
    lambda r, f: -np.mean(np.log(expit(r - f))),
    lambda r, f: -np.mean(np.log(expit(f - r))),
  ),
}
# The losses (D, G) where D's answer is the same for all.
EQUILIBRIA = {
  'non_saturating': (0.0, 2 * np.log(2), np.log(2)),
  'saturating': (0.0, 2 * np.log(2), -np.log(2)),
  'least_squares': (0.5, 0.25, 0.125),
  'hinge': (0.0, 2.0, 0.0),
  'wasserstein': (0.0, 0.0, 0.0),
  'relativistic': (0.0, np.log(2), np.log(2)),
}


def test_every_loss_has_its_formula_here():
  assert set(FORMULAS) == set(EQUILIBRIA) == set(LOSSES)


@pytest.mark.parametrize('loss', LOSSES)
def test_losses_equal_the_formulas_of_the_papers_in_float64(loss):
  real, fake = np.asarray(REAL, float), np.asarray(FAKE, float)
  for fn, formula in zip(LOSSES[loss][:2], FORMULAS[loss], strict=True):
    assert fn(REAL, FAKE) == pytest.approx(formula(real, fake), rel=1e-5)


@pytest.mark.parametrize('loss', LOSSES)
def test_losses_have_their_values_at_equilibrium(loss):
  answer, d_loss, g_loss = EQUILIBRIA[loss]
  undecided = jnp.full(5, answer)
  assert LOSSES[loss].discriminator(undecided, undecided) == pytest.approx(d_loss, rel=1e-6)
  assert LOSSES[loss].generator(undecided, undecided) == pytest.approx(g_loss, rel=1e-6)
  half = scale_discriminator_loss(LOSSES[loss], 0.5).discriminator(undecided, undecided)
  assert half == pytest.approx(d_loss / 2, rel=1e-6)


@pytest.mark.parametrize('loss', LOSSES)
def test_at_equilibrium_the_discriminator_has_no_reason_to_move(loss):
  """Where data and samples are alike, what it would gain on one it would lose on the other."""
  x = jnp.full(5, EQUILIBRIA[loss][0])
  on_real, on_fake = jax.grad(LOSSES[loss].discriminator, (0, 1))(x, x)
  np.testing.assert_allclose(on_real, -on_fake, rtol=1e-6)


@pytest.mark.parametrize('loss', LOSSES)
def test_generators_want_higher_logits_and_discriminators_a_wider_gap(loss):
  x = jnp.array([-0.5, 0.1, 0.4])
  on_real, on_fake = jax.grad(LOSSES[loss].discriminator, (0, 1))(x, x)
  assert np.all(on_real < 0)
  assert np.all(on_fake > 0) or loss == 'least_squares'
  assert np.all(jax.grad(LOSSES[loss].generator, 1)(x, x) < 0)


def test_half_the_loss_is_the_cross_entropy_on_the_equal_mixture():
  logits = np.concatenate([REAL, FAKE]).astype(float)
  labels = np.repeat([1.0, 0.0], 4)
  p = expit(logits)
  mixture = -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))
  half = scale_discriminator_loss(LOSSES['non_saturating'], 0.5)
  assert half.discriminator(REAL, FAKE) == pytest.approx(mixture, rel=1e-5)
  assert half.generator is LOSSES['non_saturating'].generator


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 0.5])
@pytest.mark.parametrize('loss', CROSS_ENTROPY)
def test_smoothing_is_the_cross_entropy_with_a_lower_target_on_data(loss, smoothing):
  p, q = expit(np.asarray(REAL, float)), expit(np.asarray(FAKE, float))
  target = 1 - smoothing
  expected = -np.mean(target * np.log(p) + (1 - target) * np.log(1 - p)) - np.mean(np.log(1 - q))
  smooth = smooth_labels(LOSSES[loss], smoothing)
  assert smooth.discriminator(REAL, FAKE) == pytest.approx(expected, rel=1e-5)
  assert smooth.generator is LOSSES[loss].generator  # one-sided


@pytest.mark.parametrize('loss', sorted(SMOOTHABLE_LOSSES))
def test_smoothing_moves_the_best_answer_on_data_to_its_target(loss):
  """The slope is 0 where D(x) is 1 - smoothing: a probability, or least squares' logit itself."""
  target = jnp.full(1, 0.8)
  logit = target if loss == 'least_squares' else jax.scipy.special.logit(target)
  smooth = smooth_labels(LOSSES[loss], 0.2)
  np.testing.assert_allclose(jax.grad(smooth.discriminator)(logit, FAKE), 0, atol=1e-6)
  assert abs(jax.grad(LOSSES[loss].discriminator)(logit, FAKE)[0]) > 0.1


def test_least_squares_with_smoothing_lowers_the_one():
  smooth = smooth_labels(LOSSES['least_squares'], 0.3)
  expected = (np.mean((np.asarray(REAL) - 0.7) ** 2) + np.mean(np.asarray(FAKE) ** 2)) / 2
  assert smooth.discriminator(REAL, FAKE) == pytest.approx(expected, rel=1e-5)


def test_smoothing_and_weight_compose():
  smooth = smooth_labels(LOSSES['non_saturating'], 0.1)
  value = scale_discriminator_loss(smooth, 0.5).discriminator(REAL, FAKE)
  assert value == pytest.approx(float(smooth.discriminator(REAL, FAKE)) / 2, rel=1e-6)


def test_the_relativistic_game_is_of_pairs_and_of_differences():
  """A constant added to every logit changes nothing; an exchange of partners does."""
  for fn in LOSSES['relativistic'][:2]:
    np.testing.assert_allclose(fn(REAL + 5, FAKE + 5), fn(REAL, FAKE), rtol=1e-5)
    assert abs(float(fn(REAL, FAKE[::-1]) - fn(REAL, FAKE))) > 0.1
  d_loss, g_loss = (fn(REAL, FAKE) for fn in LOSSES['relativistic'][:2])
  swapped = Loss(*(fn(FAKE, REAL) for fn in LOSSES['relativistic'][:2]))
  assert (d_loss, g_loss) == (swapped.generator, swapped.discriminator)


def test_the_hinge_stops_at_its_margin():
  """Beyond it nothing is gained: no loss and no gradient; G is asked all the same."""
  real, fake = jnp.array([1.5, 3.0]), jnp.array([-1.5, -3.0])
  loss = LOSSES['hinge']
  value, grads = jax.value_and_grad(loss.discriminator, (0, 1))(real, fake)
  assert value == 0
  np.testing.assert_array_equal(np.stack(grads), 0)
  np.testing.assert_allclose(jax.grad(loss.generator, 1)(real, fake), -0.5)
  inside = jax.grad(loss.discriminator, (0, 1))(jnp.array([0.9, 3.0]), jnp.array([-0.9, -3.0]))
  np.testing.assert_allclose(np.stack(inside), [[-0.5, 0], [0.5, 0]])


def test_gradient_ratio_of_the_two_generator_losses_is_the_odds_against_the_sample():
  """d/df of -log D is -(1 - D), of log(1 - D) is -D: their ratio is (1 - D) / D = exp(-f)."""
  saturating = jax.grad(LOSSES['saturating'].generator, 1)(REAL, FAKE)
  non_saturating = jax.grad(LOSSES['non_saturating'].generator, 1)(REAL, FAKE)
  np.testing.assert_allclose(non_saturating / saturating, np.exp(-FAKE), rtol=1e-5)
  assert np.all(saturating < 0)  # one direction, hence the same fixed points
  assert np.all(non_saturating < 0)


@pytest.mark.parametrize('smoothing', [0.0, 0.2])
@pytest.mark.parametrize('loss', LOSSES)
def test_an_undecided_discriminator_is_at_rest_and_believes_a_half(loss, smoothing):
  """Where data and samples are equal no common output is better than `equilibrium_output`, of log-odds 0."""
  game = LOSSES[loss]
  if smoothing and loss not in SMOOTHABLE_LOSSES:
    return
  game = smooth_labels(game, smoothing) if smoothing else game
  at = lambda x: game.discriminator(jnp.full(3, x), jnp.full(3, x))
  assert jax.grad(at)(jnp.float32(game.equilibrium_output)) == pytest.approx(0, abs=1e-6)
  here = jnp.full(3, game.equilibrium_output)
  assert [float(x[0]) for x in game.log_odds(here, here)] == [0, 0]


@pytest.mark.parametrize('loss', LOSSES)
def test_beliefs_do_not_change_with_what_the_loss_does_not_see(loss):
  """A constant added to every output of D: what RpGAN and Wasserstein do not see moves no belief."""
  game = LOSSES[loss]
  moved = [float(fn(REAL + 5, FAKE + 5)) for fn in game[:1]]
  blind = moved == pytest.approx([float(fn(REAL, FAKE)) for fn in game[:1]], rel=1e-5)
  same = np.allclose(game.log_odds(REAL + 5, FAKE + 5), game.log_odds(REAL, FAKE), atol=1e-5)
  assert blind == same == (loss in ('relativistic', 'wasserstein'))


@pytest.mark.parametrize('logit', [-1e4, -60.0, 60.0, 1e4])
@pytest.mark.parametrize('loss', LOSSES)
def test_losses_and_gradients_stay_finite_at_certain_discriminators(loss, logit):
  x = jnp.full(3, logit)
  game = smooth_labels(LOSSES[loss], 0.1) if loss in SMOOTHABLE_LOSSES else LOSSES[loss]
  for fn in (*LOSSES[loss][:2], game.discriminator):
    value, grads = jax.value_and_grad(fn, (0, 1))(x, -x)
    assert jnp.isfinite(value)
    assert all(bool(jnp.isfinite(g).all()) for g in grads)


def test_the_non_saturating_gradient_survives_where_the_saturating_one_fades():
  rejected = jnp.full(1, -30.0)
  assert abs(jax.grad(LOSSES['saturating'].generator, 1)(REAL, rejected)[0]) < 1e-12
  assert abs(jax.grad(LOSSES['non_saturating'].generator, 1)(REAL, rejected)[0]) > 0.99
