"""Tests what becomes of one image file: format, mode, orientation, transparency, damage."""

import io

import numpy as np
import PIL.Image
import pytest

from tests.helpers.reading import PIXELS, RNG, encoded, png, read, refusal, stacked, write_tree

RGB = PIXELS[0]
GREY = RGB[..., 0]
BITS = (GREY // 128 * 255).astype(np.uint8)
ALPHA = BITS
HALF = np.full_like(GREY, 128)
TABLE = RNG.integers(0, 256, (16, 3)).astype(np.uint8)
INDICES = (GREY // 16).astype(np.uint8)


def palette(mode='P', **info):
  image = PIL.Image.fromarray(INDICES)
  image.putpalette(TABLE.ravel().tolist())
  image.info.update(info)
  return image.convert(mode) if mode != 'P' else image


def rgba(pixels=RGB, alpha=ALPHA):
  return PIL.Image.fromarray(np.dstack([pixels, alpha]))


def over(colour, pixels=RGB, alpha=ALPHA):
  """Composites by the formula, in float64."""
  a = alpha[..., None] / 255
  return np.rint(pixels.reshape(*alpha.shape, -1) * a + np.array(colour) * (1 - a)).astype(np.uint8)


def jpeg(image, **options):
  content = encoded(image, 'JPEG', **options)
  return content, np.asarray(PIL.Image.open(io.BytesIO(content)).convert('RGB'))


def as_image(dtype, pixels):
  return PIL.Image.fromarray(np.asarray(pixels).astype(dtype))


def moving(frames, kind, **options):
  return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)


GREY_ALPHA = PIL.Image.fromarray(np.dstack([GREY, ALPHA]), 'LA')
HOLES = PIL.Image.fromarray(np.where(ALPHA[..., None] > 0, RGB, 7).astype('u1'))
KEYED = np.where(INDICES[..., None] > 0, TABLE[INDICES], 255)
FIRST, ON_WHITE = '1 animations or pages to their first frame', '1 transparent, on white'
CMYK = PIL.Image.fromarray(RNG.integers(0, 256, (8, 6, 4)).astype(np.uint8), 'CMYK')
YCBCR = PIL.Image.fromarray(RGB).convert('YCbCr')
FRAMES = [PIL.Image.fromarray(x) for x in PIXELS[:3]]
P_FRAMES = [palette(), PIL.Image.new('P', (6, 8), 3)]
GREY_FRAMES = [as_image('u1', GREY), as_image('u1', 255 - GREY)]
JPEG, JPEG_PIXELS = jpeg(PIL.Image.fromarray(RGB))
CMYK_JPEG, CMYK_JPEG_PIXELS = jpeg(CMYK)
SHADES = np.arange(48).reshape(8, 6)

# Name, content, pixels, part of the line that tells it.
GOOD = [
  ('a.png', png(RGB), RGB, '1 PNG'),
  ('no suffix', png(RGB), RGB, '1 PNG'),
  ('wrong.jpg', png(RGB), RGB, '1 PNG'),
  ('wrong.txt', png(RGB), RGB, '1 PNG'),
  ('a.bmp', encoded(PIL.Image.fromarray(RGB), 'BMP'), RGB, '1 BMP'),
  ('a.ppm', encoded(PIL.Image.fromarray(RGB), 'PPM'), RGB, '1 PPM'),
  ('a.pgm', encoded(as_image('u1', GREY), 'PPM'), GREY, '1 PPM'),
  ('a.tga', encoded(PIL.Image.fromarray(RGB), 'TGA'), RGB, '1 TGA'),
  ('a.webp', encoded(PIL.Image.fromarray(RGB), 'WEBP', lossless=True), RGB, '1 WEBP'),
  ('a.pcx', encoded(PIL.Image.fromarray(RGB), 'PCX'), RGB, '1 PCX'),
  ('a.sgi', encoded(PIL.Image.fromarray(RGB), 'SGI'), RGB, '1 SGI'),
  ('a.jp2', encoded(PIL.Image.fromarray(RGB), 'JPEG2000'), RGB, '1 JPEG2000'),
  ('a.dds', encoded(PIL.Image.fromarray(RGB), 'DDS'), RGB, '1 DDS'),
  ('a.jpg', JPEG, JPEG_PIXELS, '1 JPEG'),
  ('trailing.jpg', JPEG + b'data after the end', JPEG_PIXELS, '1 JPEG'),
  ('cmyk.jpg', CMYK_JPEG, CMYK_JPEG_PIXELS, '1 CMYK to RGB'),
  ('cmyk.tif', encoded(CMYK, 'TIFF'), np.asarray(CMYK.convert('RGB')), '1 CMYK to RGB'),
  ('ycbcr.tif', encoded(YCBCR, 'TIFF'), np.asarray(YCBCR.convert('RGB')), 'to RGB'),
  ('palette.png', encoded(palette()), TABLE[INDICES], '1 palette to RGB'),
  ('palette.gif', encoded(palette(), 'GIF'), TABLE[INDICES], '1 GIF'),
  ('palette.bmp', encoded(palette(), 'BMP'), TABLE[INDICES], '1 palette to RGB'),
  ('keyed.png', encoded(palette(), transparency=0), KEYED, ON_WHITE),
  ('keyed.gif', encoded(palette(), 'GIF', transparency=0), KEYED, ON_WHITE),
  ('rgba.png', encoded(rgba()), over([255] * 3), ON_WHITE),
  ('half.png', encoded(rgba(alpha=HALF)), over([255] * 3, alpha=HALF), ON_WHITE),
  ('la.png', encoded(GREY_ALPHA), over([255], GREY)[..., 0], ON_WHITE),
  ('keyed rgb.png', encoded(HOLES, transparency=(7, 7, 7)), over([255] * 3), ON_WHITE),
  ('bits.png', encoded(as_image('u1', BITS).convert('1')), BITS, '1 PNG'),
  ('bits.tif', encoded(as_image('u1', BITS).convert('1'), 'TIFF'), BITS, '1 TIFF'),
  ('deep.png', encoded(as_image('u2', SHADES * 1000)), np.rint(SHADES * 1000 / 257), '1 16 bits to 8'),
  ('deep.tif', encoded(as_image('u2', SHADES * 1000), 'TIFF'), np.rint(SHADES * 1000 / 257), '1 16 bits to 8'),
  ('int.tif', encoded(as_image('i4', SHADES * 1000), 'TIFF'), np.rint(SHADES * 1000 / 257), '1 32 bits to 8'),
  ('unit.tif', encoded(as_image('f4', SHADES / 47), 'TIFF'), np.rint(SHADES / 47 * 255), '1 float to 8'),
  ('float.tif', encoded(as_image('f4', SHADES * 5.0), 'TIFF'), SHADES * 5, '1 float to 8'),
  ('pages.tif', moving(FRAMES, 'TIFF'), RGB, FIRST),
  ('moving.gif', moving(P_FRAMES, 'GIF'), TABLE[INDICES], FIRST),
  ('moving grey.gif', moving(GREY_FRAMES, 'GIF'), np.dstack([GREY] * 3), '1 palette to RGB'),
  ('moving.png', moving(FRAMES, 'PNG'), RGB, FIRST),
  ('moving.webp', moving(FRAMES, 'WEBP', lossless=True), RGB, FIRST),
  ('broken exif.png', png(RGB, exif=b'Exif\0\0II*\0\xff\xff\xff\xff'), RGB, '1 PNG'),
  ('odd exif.png', png(RGB, exif=b'Exif\0\0no exif at all'), RGB, 'with broken EXIF'),
]  # fmt: skip


@pytest.mark.parametrize(('name', 'content', 'pixels', 'told'), GOOD, ids=[row[0] for row in GOOD])
def test_a_file_becomes_these_pixels_and_is_told(tmp_path, name, content, pixels, told):
  write_tree(tmp_path, {name: content})
  images = read(tmp_path)
  actual, expected = stacked(images)[0], np.atleast_3d(pixels)
  assert actual.shape == expected.shape
  exact = name not in ('half.png', 'a.jp2')  # which Pillow computes in integers; which loses
  np.testing.assert_allclose(actual.astype(int), expected, atol=0 if exact else 1)
  assert told in images.summary.line()


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['PNG', 'WEBP', 'TIFF'])
def test_every_orientation_is_undone(tmp_path, orientation, kind):
  # EXIF 2.32, 4.6.4: where the first row and the first column of the stored image are to be displayed.
  stored = {
    1: RGB,
    2: RGB[:, ::-1],
    3: RGB[::-1, ::-1],
    4: RGB[::-1],
    5: RGB.transpose(1, 0, 2),
    6: RGB.transpose(1, 0, 2)[::-1],
    7: RGB[::-1, ::-1].transpose(1, 0, 2),
    8: RGB.transpose(1, 0, 2)[:, ::-1],
  }[orientation]
  exif = PIL.Image.Exif()
  exif[0x0112] = orientation
  options = {'lossless': True} if kind == 'WEBP' else {}
  content = encoded(PIL.Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
  write_tree(tmp_path, {'a': content})
  np.testing.assert_array_equal(stacked(read(tmp_path))[0], RGB)


@pytest.mark.parametrize(
  ('colour', 'value'),
  [('white', [255] * 3), ('black', [0] * 3), ('#f00', [255, 0, 0]), ('rgb(1,2,3)', [1, 2, 3])],
)
def test_transparent_pixels_show_the_background(tmp_path, colour, value):
  write_tree(tmp_path, {'a.png': encoded(rgba())})
  np.testing.assert_array_equal(stacked(read(tmp_path, background=colour))[0], over(value))
  write_tree(tmp_path / 'grey', {'a.png': encoded(GREY_ALPHA)})
  actual = stacked(read(tmp_path / 'grey', background=colour))[0]
  expected = over(value, np.dstack([GREY] * 3))
  np.testing.assert_array_equal(actual, expected if len({*value}) > 1 else expected[..., :1])


def test_a_background_that_is_no_colour_is_refused(tmp_path):
  write_tree(tmp_path, {'a.png': 0})
  assert '--background=mauvish: it is no colour; give' in refusal(tmp_path, background='mauvish')


BAD = [
  ('empty.png', b'', 'not images that Pillow can read (empty.png)'),
  ('cut.png', png(RGB)[:80], 'not images that Pillow can read (cut.png)'),
  ('cut.jpg', JPEG[:300], 'not images that Pillow can read (cut.jpg)'),
  ('text.png', b'no image', 'not images that Pillow can read (text.png)'),
  ('flipped.png', png(RGB)[:60] + b'\0' + png(RGB)[61:], 'not images that Pillow can read'),
  ('a.eps', b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'not images that Pillow can read (a.eps)'),
  ('far.tif', encoded(as_image('i4', SHADES * 10**6), 'TIFF'), 'not images that Pillow can read (far.tif)'),
  ('nan.tif', encoded(as_image('f4', SHADES * np.nan), 'TIFF'), 'not images that Pillow can read (nan.tif)'),
  ('note.txt', b'a note', '1 other files; other files: 1 .txt'),
  ('table.csv', b'a,b\n1,2\n', '1 other files; other files: 1 .csv'),
  ('model.pkl', b'\x80\x04N.', '1 other files; other files: 1 .pkl'),
  ('movie.mp4', b'\0\0\0\x18ftypmp42' + bytes(200), '1 other files; other files: 1 .mp4'),
  ('huge.ppm', b'P6 100000 100000 255\n' + bytes(99), '1 too large (limits: 67,108,864 pixels, 256 MiB)'),
  ('._a.png', png(RGB), '1 hidden'),
  ('.a.png', png(RGB), '1 hidden'),
  ('Thumbs.db', png(RGB), '1 hidden'),
  ('.ipynb_checkpoints/a.png', png(RGB), '1 hidden'),
  ('__MACOSX/a.png', png(RGB), '1 hidden'),
]  # fmt: skip


@pytest.mark.parametrize(('name', 'content', 'told'), BAD, ids=[row[0] for row in BAD])
def test_other_files_are_left_out_and_told(tmp_path, name, content, told):
  write_tree(tmp_path, {'good.png': 0, name: content})
  images = read(tmp_path)
  np.testing.assert_array_equal(stacked(images), PIXELS[:1])
  assert images.summary.line().startswith('1 of 2 files are images (1 PNG); left out: ')
  assert told in images.summary.line()
  (tmp_path / 'good.png').unlink()
  message = refusal(tmp_path)
  assert (
    'this folder holds no image' in message or 'cannot be read as an image; take it out' in message
  )


def test_grey_beside_colour_becomes_rgb_and_is_told(tmp_path):
  write_tree(tmp_path, {'a.png': png(GREY), 'b.png': 1})
  images = read(tmp_path)
  expected = np.stack([np.dstack([GREY] * 3), PIXELS[1]])
  np.testing.assert_array_equal(stacked(images), expected)
  assert '1 grey to RGB, as others are coloured' in images.summary.line()


def test_sizes_that_differ_are_refused_with_both_sizes_or_resized(tmp_path):
  write_tree(tmp_path, {'a.png': 0, 'b.png': 1, 'c d.png': png(RGB[:4, :4])})
  message = (
    '2 of 3 images are 6x8 pixels, and c d.png is 4x4: give images of one size, or --image_size=6'
  )
  assert message in refusal(tmp_path)
  assert read(tmp_path, image_size=4).common_shape('', 4) == (4, 4, 3)
