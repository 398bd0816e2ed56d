import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import evaluate, sampling
from gan_jax import gan as gan_lib
from gan_jax.data import Dataset
from tests.games import SHAPE, replace_params, tiny


@pytest.mark.parametrize(
  ('name', 'published'), [('real', 242.8), ('mean', -59.1), ('noise', -628.7)]
)
def test_known_samplers_score_what_the_2014_procedure_gives_them(mnist, name, published):
  """Figures measured by an independent NumPy implementation on MNIST's test set."""
  score = evaluate.references(mnist, 'test', seed=0, names=[name])[name]
  assert score.mean == pytest.approx(published, abs=2.5)


def test_references_are_computed_once(mnist, tmp_path):
  first = evaluate.references(mnist, 'validation', 0, ['mean'], cache=tmp_path)
  (file,) = tmp_path.glob('references/*.json')
  file.write_text(file.read_text().replace(str(first['mean'].sigma), '0.5'))
  assert evaluate.references(mnist, 'validation', 0, ['mean'], cache=tmp_path)['mean'].sigma == 0.5


def test_validation_scores_leave_out_the_images_that_chose_sigma(mnist):
  selection, queries = evaluate.held_out(mnist, 'validation')
  np.testing.assert_array_equal(selection, evaluate.flat(mnist.validation[:1000]))
  np.testing.assert_array_equal(queries, evaluate.flat(mnist.validation[1000:]))
  assert evaluate.held_out(mnist, 'test')[1].shape == (10_000, 784)


def test_marginals_keep_each_pixel_and_forget_the_rest(mnist):
  train = evaluate.flat(mnist.train[:5000])
  drawn = evaluate.REFERENCES['marginals'](jax.random.key(0), train)
  np.testing.assert_allclose(drawn.mean(axis=0), train.mean(axis=0), atol=0.03)
  np.testing.assert_allclose(drawn.std(axis=0), train.std(axis=0), atol=0.03)
  i, j = 14 * 28 + 14, 15 * 28 + 14  # neighbours in the middle of the image
  correlation = lambda x: jnp.corrcoef(x[:, i], x[:, j])[0, 1]
  assert correlation(train) > 0.5
  assert abs(correlation(drawn)) < 0.05


def made(**options):
  """A game whose last weights are not its average."""
  gan, _, state = tiny(**options)
  params = jax.tree.map(lambda x: 3 * x, state.g.params)
  return gan, replace_params(state, 'g', params)


def test_samples_are_the_same_as_rows_and_as_pictures():
  gan, state = made()
  drawn = evaluate.draw(gan, state, seed=0, n=30)
  for samples in drawn.values():
    assert samples.painted.shape == (30, *SHAPE)
    np.testing.assert_allclose(samples.unit, evaluate.flat(samples.painted), atol=0.5 / 255 + 1e-6)
  assert np.any(drawn['raw'].painted != drawn['ema'].painted)
  again = evaluate.draw(gan, state, seed=0, n=10)
  np.testing.assert_array_equal(again['ema'].painted, drawn['ema'].painted[:10])


def test_samples_without_their_contrast_are_judged_as_they_are_painted():
  gan, state = made()
  drawn = evaluate.draw(gan._replace(contrast=55.0), state, seed=0, n=10)['raw']
  np.testing.assert_array_equal(drawn.unit, evaluate.flat(drawn.painted))
  darker = evaluate.draw(gan, state, seed=0, n=10)['raw'].painted
  assert drawn.painted.std() < darker.std()


def test_a_conditional_generator_is_asked_for_every_class_in_turn():
  gan, state = made(n_classes=3)
  latents = sampling.fixed_latents(gan.latent, 0, 1010)  # more than one call draws
  drawn = sampling.points(gan, state.g.weights, latents)
  labels = jnp.arange(1010) % 3
  whole = gan_lib.sample(gan, state.g.weights, latents, labels)
  np.testing.assert_allclose(drawn, whole, atol=1e-5)
  ones = sampling.paint(gan, state.g.weights, latents[:7], jnp.ones(7, jnp.int32))
  expected = gan_lib.sample(gan, state.g.weights, latents[:7], jnp.ones(7, jnp.int32))
  np.testing.assert_allclose(ones, (expected + 1) * 127.5, atol=0.51)


def test_small_sets_choose_sigma_on_half_of_their_validation_images():
  pixels = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
  few = Dataset('few', pixels, pixels[:31], pixels[40:], None, None, None, 'f00d')
  assert evaluate.n_selection(few) == 15
  selection, queries = evaluate.held_out(few, 'validation')
  assert (selection.shape, queries.shape) == ((15, 1), (16, 1))
  assert evaluate.protocol(few, 'test', 0)['n_queries'] == 20
  assert '15 validation' in evaluate.protocol(few, 'test', 0)['sigma']
