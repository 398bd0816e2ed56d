import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from gan_jax import evaluate


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


def test_k_means_equals_scikit_learn_from_the_same_start():
  points = jax.random.normal(jax.random.key(0), (1500, 4))
  start = points[:20]
  theirs = KMeans(20, init=np.asarray(start), n_init=1, max_iter=3, tol=0, algorithm='lloyd')
  theirs.fit(np.asarray(points))
  np.testing.assert_allclose(
    evaluate.k_means(points, start, iterations=3), theirs.cluster_centers_, atol=1e-4
  )


def test_marginals_keep_each_pixel_and_forget_the_rest(mnist):
  train = evaluate.flat(mnist.train[:5000])
  drawn = evaluate.REFERENCES['marginals'](jax.random.key(0), train)
  np.testing.assert_allclose(drawn.mean(axis=0), train.mean(axis=0), atol=0.03)
  np.testing.assert_allclose(drawn.std(axis=0), train.std(axis=0), atol=0.03)
  i, j = 14 * 28 + 14, 15 * 28 + 14  # neighbours in the middle of the image
  correlation = lambda x: jnp.corrcoef(x[:, i], x[:, j])[0, 1]
  assert correlation(train) > 0.5
  assert abs(correlation(drawn)) < 0.05
