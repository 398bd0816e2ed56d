import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.data import Dataset
from gan_jax.evaluation import parzen_evaluation, score_tables
from gan_jax.evaluation.sampling import to_unit_rows
from gan_jax.utils.files import json_safe


@pytest.mark.parametrize(
  ('name', 'published'), [('real', 242.8), ('mean', -59.1), ('noise', -628.7)]
)
def test_reference_scores_equal_those_of_the_2014_procedure(mnist, name, published):
  """Figures measured by an independent NumPy implementation on MNIST's test set."""
  score = parzen_evaluation.reference_scores(mnist, 'test', seed=0, names=[name])[name]
  assert score.mean == pytest.approx(published, abs=2.5)


def test_references_are_computed_once(mnist, tmp_path):
  first = parzen_evaluation.reference_scores(mnist, 'validation', 0, ['mean'], cache=tmp_path)
  (file,) = tmp_path.glob('references/*.json')
  file.write_text(file.read_text().replace(str(first['mean'].sigma), '0.5'))
  assert (
    parzen_evaluation.reference_scores(mnist, 'validation', 0, ['mean'], cache=tmp_path)[
      'mean'
    ].sigma
    == 0.5
  )


def test_validation_scores_leave_out_the_images_that_chose_sigma(mnist):
  selection, queries = parzen_evaluation.selection_and_query_rows(mnist, 'validation')
  np.testing.assert_array_equal(selection, to_unit_rows(mnist.validation[:1000]))
  np.testing.assert_array_equal(queries, to_unit_rows(mnist.validation[1000:]))
  assert parzen_evaluation.selection_and_query_rows(mnist, 'test')[1].shape == (10_000, 784)


def test_marginals_keep_the_distribution_of_each_pixel_and_no_correlation(mnist):
  train = to_unit_rows(mnist.train[:5000])
  drawn = parzen_evaluation.REFERENCES['marginals'](jax.random.key(0), train)
  np.testing.assert_allclose(drawn.mean(axis=0), train.mean(axis=0), atol=0.03)
  np.testing.assert_allclose(drawn.std(axis=0), train.std(axis=0), atol=0.03)
  i, j = 14 * 28 + 14, 15 * 28 + 14  # neighbours in the middle of the image
  correlation = lambda x: jnp.corrcoef(x[:, i], x[:, j])[0, 1]
  assert correlation(train) > 0.5
  assert abs(correlation(drawn)) < 0.05


def test_small_sets_choose_sigma_on_half_of_their_validation_images():
  pixels = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
  few = Dataset('few', pixels, pixels[:31], pixels[40:], None, None, None, 'f00d')
  assert parzen_evaluation.n_selection_images(few) == 15
  selection, queries = parzen_evaluation.selection_and_query_rows(few, 'validation')
  assert (selection.shape, queries.shape) == ((15, 1), (16, 1))
  assert parzen_evaluation.parzen_protocol(few, 'test', 0)['n_queries'] == 20
  assert '15 validation' in parzen_evaluation.parzen_protocol(few, 'test', 0)['sigma']


def test_a_set_with_one_validation_image_has_a_nan_score_and_valid_json(tmp_path):
  pixels = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
  one = Dataset('one', pixels, pixels[:1], pixels[40:], None, None, None, 'f00d')
  scores = parzen_evaluation.reference_scores(one, 'test', 0, ['mean'], cache=tmp_path)
  assert math.isnan(scores['mean'].mean)
  assert not list(tmp_path.rglob('*.json'))
  values = json_safe({'references': {'mean': scores['mean']._asdict()}, 'list': [1, 2.5, 'a']})
  json.dumps(values, allow_nan=False)
  assert values['references']['mean']['mean'] is None
  assert values['list'] == [1, 2.5, 'a']
  protocol = parzen_evaluation.parzen_protocol(one, 'test', 0)
  assert 'nan' in score_tables.parzen_table({'raw': scores['mean']}, scores, protocol)[1]
