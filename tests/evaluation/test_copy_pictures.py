import numpy as np
import pytest

from gan_jax.evaluation.copy_pictures import draw_copies


@pytest.mark.parametrize('shape', [(8, 8, 3), (300, 200, 1)])
def test_a_sample_stands_to_the_left_of_its_training_image(shape):
  samples, examples = np.full((4, *shape), 200, np.uint8), np.full((4, *shape), 50, np.uint8)
  picture = np.asarray(draw_copies(samples, examples, ['equal'] * 4, [0.0] * 4))
  assert picture.shape[1] > 3 * 2 * 144
  np.testing.assert_array_equal(picture[80, 80], [200] * 3)
  np.testing.assert_array_equal(picture[80, 80 + 146], [50] * 3)
  assert (picture < 200).any(axis=(1, 2))[152:182].any()
