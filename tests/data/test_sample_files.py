import numpy as np
import pytest
from PIL import Image

from gan_jax.data import sample_files
from gan_jax.utils.errors import UserError

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(30, 2)).astype(np.float32)
PIXELS = RNG.integers(0, 256, (30, 8, 8, 1)).astype(np.uint8)


def opened(tmp_path, array, flag='fake', name='set.npz'):
  path = tmp_path / name
  with path.open('wb') as file:
    (np.save if name.endswith('npy') else np.savez)(file, array)
  return sample_files.load_example_sets({flag: str(path)})[flag]


@pytest.mark.parametrize('name', ['set.npz', 'set.npy'])
@pytest.mark.parametrize('array', [POINTS, PIXELS], ids=['points', 'images'])
def test_arrays_are_read_unchanged(tmp_path, array, name):
  actual = opened(tmp_path, array, name=name)
  np.testing.assert_array_equal(actual, array)
  assert actual.dtype == array.dtype


@pytest.mark.parametrize(
  'change',
  [lambda x: x / 255, lambda x: x / 127.5 - 1, lambda x: x.astype(np.float64), lambda x: x[..., 0]],
  ids=['unit', 'signed', 'float', 'without a channel'],
)
def test_pixels_of_any_range_become_the_same_bytes(tmp_path, change):
  np.testing.assert_array_equal(opened(tmp_path, change(PIXELS)), PIXELS)


def test_a_folder_of_images_is_read(tmp_path):
  for i, pixels in enumerate(PIXELS[:5]):
    Image.fromarray(pixels[..., 0]).save(tmp_path / f'{i}.png')
  actual = sample_files.load_example_sets({'fake': str(tmp_path)})['fake']
  np.testing.assert_array_equal(actual, PIXELS[:5])


def test_an_archive_of_several_arrays_needs_a_known_name(tmp_path):
  np.savez(tmp_path / 'a.npz', latents=POINTS, samples=2 * POINTS)
  actual = sample_files.load_example_sets({'fake': str(tmp_path / 'a.npz')})['fake']
  np.testing.assert_array_equal(actual, 2 * POINTS)
  np.savez(tmp_path / 'b.npz', latents=POINTS, other=POINTS)
  with pytest.raises(UserError, match=r'--fake=.*b.npz: it holds latents, other; name the array'):
    sample_files.load_example_sets({'fake': str(tmp_path / 'b.npz')})


BAD = [
  (np.zeros((0, 2)), r'an array \[0, 2\]; give \[n, ...\] with n above 0'),
  (np.zeros(5), r'an array \[5\]'),
  (np.full((5, 2), np.nan), r'5 of 5 examples hold infinite or NaN numbers'),
  (
    PIXELS * 3.0,
    r'pixels from 0 to 765; give uint8, or floats in \[0, 1\], \[-1, 1\] or \[0, 255\]',
  ),
  (PIXELS / 100 - 2, r'pixels from -2 to 0.55'),
  (np.array([['a', 'b']]), r'it holds <U1; give numbers'),
  (POINTS + 1j, r'it holds complex'),
]


@pytest.mark.parametrize(('array', 'message'), BAD, ids=[message[:25] for _, message in BAD])
def test_an_invalid_array_is_a_one_line_error_with_flag_and_reason(tmp_path, array, message):
  with pytest.raises(UserError, match=r'--fake=\S+/set.npz: ' + message) as error:
    opened(tmp_path, array)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('examples', [POINTS, PIXELS / 255], ids=['points', 'images'])
def test_samples_that_are_not_finite_are_left_out_and_named(tmp_path, examples):
  broken, lines = examples.astype(np.float32), []
  broken[::3] = np.nan
  np.savez(tmp_path / 'set.npz', broken)
  sets = sample_files.load_example_sets({'fake': str(tmp_path / 'set.npz')}, lines.append)
  np.testing.assert_array_equal(
    sets['fake'], opened(tmp_path, np.delete(examples.astype(np.float32), np.s_[::3], 0))
  )
  assert lines == [
    f'--fake={tmp_path}/set.npz: 10 of 30 samples hold infinite or NaN numbers and are left out'
  ]
  with pytest.raises(UserError, match=r'--heldout=.*: 10 of 30 examples hold infinite or NaN'):
    opened(tmp_path, broken, flag='heldout')


@pytest.mark.parametrize(('least', 'most'), [(0, 1), (-1, 1), (0, 255)])
def test_an_overshoot_of_rounding_is_clipped_and_told(tmp_path, least, most):
  pixels, lines = PIXELS / 255 * (most - least) + least, []
  pixels[0, 0, 0, 0] = most + 0.004 * (most - least)
  np.savez(tmp_path / 'set.npz', pixels)
  sets = sample_files.load_example_sets({'fake': str(tmp_path / 'set.npz')}, lines.append)
  expected = PIXELS.copy()
  expected[0, 0, 0, 0] = 255
  np.testing.assert_array_equal(sets['fake'], expected)
  (line,) = lines
  assert f'are clipped to [{least}, {most}]' in line


def test_channels_first_are_moved_to_the_end_where_that_is_certain(tmp_path):
  colour, lines = RNG.integers(0, 256, (30, 8, 9, 3)).astype(np.uint8), []
  np.savez(tmp_path / 'set.npz', colour.transpose(0, 3, 1, 2))
  sets = sample_files.load_example_sets({'fake': str(tmp_path / 'set.npz')}, lines.append)
  np.testing.assert_array_equal(sets['fake'], colour)
  assert 'read as images [n, c, h, w]' in lines[0]
  np.testing.assert_array_equal(opened(tmp_path, colour[:, :3]), colour[:, :3])  # not certain


def test_series_are_read_as_points_and_told(tmp_path):
  series, lines = RNG.normal(size=(30, 24, 6)).astype(np.float32), []
  np.savez(tmp_path / 'set.npz', series)
  sets = sample_files.load_example_sets({'fake': str(tmp_path / 'set.npz')}, lines.append)
  np.testing.assert_array_equal(sets['fake'], series)
  assert 'read as series [n, t, d]' in lines[0]


def test_pickled_arrays_are_refused(tmp_path):
  with pytest.raises(UserError, match=r'cannot be read as an .npz or .npy of numbers'):
    opened(tmp_path, np.array([{'a': 1}], dtype=object), name='set.npy')
  with pytest.raises(UserError, match='cannot be read'):
    opened(tmp_path, np.array([{'a': 1}], dtype=object))


def test_missing_and_damaged_files_are_errors(tmp_path):
  with pytest.raises(UserError, match='there is no such file or folder'):
    sample_files.load_example_sets({'real': str(tmp_path / 'none.npz')})
  (tmp_path / 'cut.npz').write_bytes(b'PK\x03\x04 and no more')
  with pytest.raises(UserError, match='cannot be read'):
    sample_files.load_example_sets({'real': str(tmp_path / 'cut.npz')})
  with pytest.raises(UserError, match='this folder holds no image'):
    sample_files.load_example_sets({'real': str(tmp_path)})
  (tmp_path / 'broken.png').write_bytes(b'no image')
  with pytest.raises(UserError, match=r'broken.png cannot be read as an image; take it out'):
    sample_files.load_example_sets({'real': str(tmp_path)})


def pair(tmp_path, real, fake):
  for name, array in (('real', real), ('fake', fake)):
    np.savez(tmp_path / f'{name}.npz', array)
  return {name: str(tmp_path / f'{name}.npz') for name in ('real', 'fake')}


def test_equal_sets_and_sets_of_different_shapes_are_errors(tmp_path):
  with pytest.raises(UserError, match=r'--fake=.*: it holds the same examples as --real'):
    sample_files.load_example_sets(pair(tmp_path, POINTS, POINTS))
  with pytest.raises(UserError, match=r'--fake=.*: its examples are 3, those of --real 2'):
    sample_files.load_example_sets(pair(tmp_path, POINTS, np.zeros((4, 3))))
  with pytest.raises(UserError, match='its examples are 9 x 9 x 1, those of --real 8 x 8 x 1'):
    sample_files.load_example_sets(pair(tmp_path, PIXELS, np.zeros((4, 9, 9, 1), np.uint8)))


def test_a_folder_with_images_of_two_sizes_is_an_error(tmp_path):
  Image.fromarray(PIXELS[0, ..., 0]).save(tmp_path / 'a.png')
  Image.fromarray(PIXELS[0, :4, :4, 0]).save(tmp_path / 'b.png')
  with pytest.raises(
    UserError, match=r'1 of 2 images are 8x8 pixels, and b.png is 4x4: give images of one'
  ):
    sample_files.load_example_sets({'fake': str(tmp_path)})
