"""Tests what arrays of any layout, type and range become, and which are refused."""

import numpy as np
import pytest

from gan_jax.data.reader import ImageSet
from tests.helpers.reading import PIXELS, RNG, read, refusal, stacked

GREY = np.ascontiguousarray(PIXELS[..., :1])
N = len(PIXELS)
CHW = PIXELS.transpose(0, 3, 1, 2)
SQUARE = RNG.integers(0, 256, (N, 8, 8, 3)).astype(np.uint8)
POINTS = RNG.normal(size=(N, 5)).astype(np.float32)
SERIES = RNG.normal(size=(N, 7, 5)).astype(np.float32)
ALPHA = (PIXELS[..., :1] // 128 * 255).astype(np.uint8)
RGBA = np.concatenate([PIXELS, ALPHA], -1)
GREY_ALPHA = np.concatenate([GREY, ALPHA], -1)
SIGNED = PIXELS / 255 * 2 - 1
ON_RED = np.where(ALPHA > 0, GREY.repeat(3, -1), [255, 0, 0])
ON_WHITE = np.where(ALPHA > 0, PIXELS, 255).astype(np.uint8)
UNIT = PIXELS / 255


def changed(x, value, at=(0, 0, 0, 0)):
  x = np.array(x)
  x[at] = value
  return x


# Array, options, images or points, parts of the notes.
GOOD = {
  'uint8': (PIXELS, {}, PIXELS, []),
  'Fortran order': (np.asfortranarray(PIXELS), {}, PIXELS, []),
  'big endian': (PIXELS.astype('>u2'), {}, PIXELS, []),
  'grey': (GREY, {}, GREY, []),
  'without channels': (GREY[..., 0], {}, GREY, []),
  'channels first': (CHW, {}, PIXELS, ['read as images [n, c, h, w]']),
  'grey channels first': (GREY.transpose(0, 3, 1, 2), {}, GREY, ['read as images [n, c, h, w]']),
  'channels first by flag': (CHW, {'layout': 'nchw'}, PIXELS, []),
  'either order': (PIXELS[:, :3], {}, PIXELS[:, :3], ['--layout=nchw reads the other order']),
  'either order by flag': (CHW[..., :3], {'layout': 'nchw'}, PIXELS[:, :, :3], []),
  'bool': (GREY > 127, {}, (GREY > 127) * 255, []),
  'int64': (PIXELS.astype(np.int64), {}, PIXELS, []),
  'float64 in [0, 1]': (UNIT, {}, PIXELS, []),
  'float16 in [-1, 1]': (SIGNED.astype(np.float16), {}, PIXELS, []),
  'float32 in [-1, 1]': (SIGNED.astype(np.float32), {}, PIXELS, []),
  'float32 in [0, 255]': (PIXELS.astype(np.float32), {}, PIXELS, []),
  'unit overshoot': (changed(UNIT, 1.004), {}, changed(PIXELS, 255), ['1.004 are clipped to [0, 1]']),
  'signed undershoot': (changed(SIGNED, -1.01), {}, changed(PIXELS, 0), ['from -1.01 to 1 are clipped to [-1']),
  'byte overshoot': (changed(PIXELS * 1.0, 256), {}, changed(PIXELS, 255), ['256 are clipped to [0, 255]']),
  '16 bits': (PIXELS.astype(np.uint16) * 257, {}, PIXELS, ['pixels of 16 bits are scaled to 8']),
  'RGBA': (RGBA, {}, ON_WHITE, ['read as RGBA and composited on white']),
  'RGBA on black': (RGBA, {'background': 'black'}, PIXELS * (ALPHA > 0), ['on black']),
  'grey and alpha': (GREY_ALPHA, {'layout': 'nhwc'}, np.where(ALPHA > 0, GREY, 255), ['grey and alpha']),
  'grey on red': (GREY_ALPHA, {'layout': 'nhwc', 'background': 'red'}, ON_RED, ['on red']),
  'points': (POINTS, {}, POINTS, []),
  'float64 points': (POINTS.astype(float), {}, POINTS, []),
  'uint8 points': (PIXELS[:, 0, :, 0], {}, PIXELS[:, 0, :, 0].astype('f4'), ['--kind=images reads']),
  'flat grey': (SQUARE[..., 0].reshape(N, -1), {'kind': 'images'}, SQUARE[..., :1], []),
  'flat colour': (SQUARE.reshape(N, -1), {'kind': 'images', 'layout': 'nhwc'}, SQUARE, []),
  'flat CIFAR': (SQUARE.transpose(0, 3, 1, 2).reshape(N, -1), {'kind': 'images', 'layout': 'nchw'}, SQUARE, []),
  'series': (SERIES, {}, SERIES, ['read as series [n, t, d] of points']),
  'series in [0, 1] by flag': (UNIT[..., 0], {'kind': 'points'}, UNIT[..., 0].astype(np.float32), []),
  'images as points': (UNIT, {'kind': 'points'}, UNIT.reshape(N, -1).astype(np.float32), []),
  'one pixel': (PIXELS[:, :1, :1], {}, PIXELS[:, :1, :1], []),
}  # fmt: skip


@pytest.mark.parametrize('name', GOOD)
@pytest.mark.parametrize('save', ['npy', 'npz', 'compressed'])
def test_an_array_becomes_these_images_or_points(tmp_path, name, save):
  array, options, expected, told = GOOD[name]
  path = tmp_path / ('set.npy' if save == 'npy' else 'set.npz')
  {'npy': np.save, 'npz': np.savez, 'compressed': np.savez_compressed}[save](path, array)
  result = read(path, **options)
  if isinstance(result, ImageSet):
    np.testing.assert_array_equal(stacked(result), expected)
    notes, summary = result.summary.notes, result.summary
  else:
    np.testing.assert_array_equal(result[0], expected)
    assert result[0].dtype == np.float32 == expected.dtype
    notes, summary = result[1].notes, result[1]
  assert len(notes) == len(told)
  assert all(part in note for part, note in zip(told, notes, strict=True))
  assert summary.n_images == summary.n_files == N


BAD = {
  'empty': (PIXELS[:0], {}, 'an array [0, 8, 6, 3]; give [n, ...] with n above 0'),
  'one image': (np.zeros((64, 48, 3), np.uint8), {}, 'an array [64, 48, 3] looks like one image [h, w, c]'),
  'five axes': (PIXELS[None], {}, 'an array [1, 12, 8, 6, 3]; images are [n, h, w, c]'),
  'no channels': (np.zeros((4, 8, 8, 8), np.uint8), {}, 'no axis is certain to be channels; give --layout'),
  'wrong layout': (PIXELS, {'layout': 'nchw'}, '8 channels in an array [12, 6, 3, 8]'),
  'out of range': (UNIT * 3, {}, 'pixels from 0 to 3; give uint8, or floats in [0, 1]'),
  'black floats': (UNIT * 0, {}, 'pixels from 0 to 0; give uint8'),
  'negative ints': (GREY[..., 0].astype(int) - 300, {}, 'pixels from -300 to'),
  'strings': (np.array([['a', 'b']]), {}, 'it holds <U1; give numbers'),
  'complex': (UNIT + 1j, {}, 'it holds complex128; give numbers'),
  'dates': (np.zeros((3, 3), 'M8[s]'), {}, 'it holds datetime64[s]; give numbers'),
  'not finite': (changed(UNIT, np.inf), {}, '1 of 12 examples hold infinite or NaN numbers; take them out'),
  'flat and odd': (POINTS, {'kind': 'images'}, 'rows of 5 numbers are no square images'),
  'flat of either order': (SQUARE.reshape(N, -1), {'kind': 'images'}, 'are colour images of either order'),
  'records': (np.zeros(5, [('a', 'f4'), ('b', 'f4')]), {}, 'as an .npz or .npy of numbers (records)'),
}  # fmt: skip


@pytest.mark.parametrize('name', BAD)
@pytest.mark.parametrize('save', ['npy', 'npz'])
def test_other_arrays_are_refused_in_one_line(tmp_path, name, save):
  array, options, message = BAD[name]
  path = tmp_path / f'set.{save}'
  (np.save if save == 'npy' else np.savez)(path, array)
  assert message in refusal(path, **options)


def test_rows_that_are_not_finite_are_left_out_where_allowed_with_their_labels(tmp_path):
  np.savez(tmp_path / 'a.npz', x=changed(UNIT, np.nan, 3), y=np.arange(N))
  images = read(tmp_path / 'a.npz', drop_nonfinite=True)
  np.testing.assert_array_equal(stacked(images), np.delete(PIXELS, 3, 0))
  assert list(images.class_names) == [str(i) for i in range(N) if i != 3]
  assert (images.summary.n_images, images.summary.n_files) == (N - 1, N)


LABELS = {
  'integers': (np.arange(N) % 3, [*'012'], np.arange(N) % 3),
  'a column': (np.arange(N)[:, None] % 3, [*'012'], np.arange(N) % 3),
  'one-hot': (np.eye(3)[np.arange(N) % 3], [*'012'], np.arange(N) % 3),
  'floats': (np.arange(N) % 3 * 1.0, [*'012'], np.arange(N) % 3),
  'gaps': (np.arange(N) % 3 * 5, ['0', '5', '10'], np.arange(N) % 3),
  'from one': (np.arange(N) % 3 + 1, [*'123'], np.arange(N) % 3),
  'names': (np.array(['b', 'a', 'c'])[np.arange(N) % 3], [*'abc'], np.array([1, 0, 2])[np.arange(N) % 3]),
  'bytes': (np.array([b'b', b'a', b'c'])[np.arange(N) % 3], [*'abc'], np.array([1, 0, 2])[np.arange(N) % 3]),
  'bool': (np.arange(N) % 2 > 0, [*'01'], np.arange(N) % 2),
}  # fmt: skip


@pytest.mark.parametrize('name', LABELS)
@pytest.mark.parametrize('key', ['labels', 'y', 'targets'])
def test_labels_of_the_same_file_are_read_with_their_names(tmp_path, name, key):
  array, names, expected = LABELS[name]
  np.savez(tmp_path / 'a.npz', **{'x': PIXELS, key: array})
  images = read(tmp_path / 'a.npz')
  assert list(images.class_names) == names
  np.testing.assert_array_equal(images.labels, expected)
  assert f'{len(names)} classes by array of labels: {", ".join(names)}' in images.summary.line()
  assert read(tmp_path / 'a.npz', labels='none').labels is None


@pytest.mark.parametrize('labels', [np.arange(5), np.ones((N, 3)), np.arange(N) + 0.5])
def test_labels_that_fit_no_classes_are_refused(tmp_path, labels):
  np.savez(tmp_path / 'a.npz', x=PIXELS, y=labels)
  assert 'give one integer or name each, or --labels=none' in refusal(tmp_path / 'a.npz')
  assert read(tmp_path / 'a.npz', labels='none').labels is None


def test_labels_of_another_file_are_read(tmp_path):
  np.save(tmp_path / 'a.npy', PIXELS)
  np.save(tmp_path / 'y.npy', np.arange(N) % 3)
  np.testing.assert_array_equal(
    read(tmp_path / 'a.npy', labels=f'{tmp_path}/y.npy').labels, np.arange(N) % 3
  )
  assert 'there is no such file; give none' in refusal(tmp_path / 'a.npy', labels='nowhere.npy')
  assert 'an array has no folders; give none' in refusal(tmp_path / 'a.npy', labels='folders')


@pytest.mark.parametrize(
  'names',
  [
    ('x_train', 'y_train', 'x_test', 'y_test'),  # Keras
    ('train_images', 'train_labels', 'test_images', 'test_labels'),  # MedMNIST
    ('images_train', 'labels_train', 'images_test', 'labels_test'),
  ],
)
def test_arrays_of_splits_are_splits(tmp_path, names):
  values = (PIXELS[:8], np.arange(8) % 2, PIXELS[8:], np.arange(4) % 2)
  np.savez(tmp_path / 'a.npz', **dict(zip(names, values, strict=True)))
  images = read(tmp_path / 'a.npz')
  np.testing.assert_array_equal(stacked(images), PIXELS)
  np.testing.assert_array_equal(images.labels, np.r_[np.arange(8) % 2, np.arange(4) % 2])
  assert list(images.splits) == ['train'] * 8 + ['test'] * 4
  assert 'splits by array: train 8, test 4' in images.summary.line()
  assert {*read(tmp_path / 'a.npz', split_fractions='1,0,0').splits} == {''}


def test_several_arrays_without_a_known_name_are_refused(tmp_path):
  np.savez(tmp_path / 'a.npz', latents=POINTS, other=POINTS)
  assert 'it holds latents, other; name the array images or samples' in refusal(tmp_path / 'a.npz')


def test_images_of_an_array_are_resized_as_files_are(tmp_path):
  np.save(tmp_path / 'a.npy', PIXELS)
  assert stacked(read(tmp_path / 'a.npy', image_size=4)).shape == (N, 4, 4, 3)


def test_a_flipped_bit_of_an_npz_is_found(tmp_path):
  np.savez(tmp_path / 'a.npz', images=PIXELS)
  content = bytearray((tmp_path / 'a.npz').read_bytes())
  content[len(content) // 2] ^= 1
  (tmp_path / 'a.npz').write_bytes(content)
  assert 'it cannot be read as an .npz or .npy of numbers' in refusal(tmp_path / 'a.npz')
