"""Tests what people draw from a conditional run: classes, seeds, truncation, walks."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from gan_jax.data.dataset import Dataset
from gan_jax.evaluation import sampling, tasks
from gan_jax.training import load_run
from tests.helpers import commands, small_runs
from tests.helpers.small_runs import SMALL

NAMES = ('1', '2', '10')
COUNTS = (10, 20, 60)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """Trains a conditional run with normal latents for a step, on classes of 10, 20 and 60 images."""
  labels = np.repeat(np.arange(3), COUNTS)
  pixels = np.random.default_rng(0).integers(0, 256, (90, 8, 8, 1), np.uint8)
  data = Dataset('named', *[pixels] * 3, *[labels] * 3, 'f00d', class_names=NAMES)
  config = dataclasses.replace(SMALL, conditional=True, latent='normal', steps=1, referee_every=0)
  folder = tmp_path_factory.mktemp('conditional') / 'run'
  with pytest.MonkeyPatch.context() as patched:
    small_runs.use_noise_dataset(patched)
    patched.setattr(tasks, 'load_dataset', lambda *args, **options: data)
    small_runs.disable_figures(patched)
    small_runs.run(folder, config)
  return folder


@pytest.fixture
def draw(run, scripts, tmp_path):
  def draw(name, *flags, run=run):
    ended = scripts('sample', f'--run={run}', f'--output={tmp_path / name}', *flags)
    assert (ended.code, ended.err) == (0, ''), ended
    return tmp_path / name

  return draw


def arrays(path):
  with np.load(path, allow_pickle=False) as file:
    return dict(file)


def test_config_json_names_and_counts_the_classes(run):
  description = json.loads((run / 'config.json').read_text())
  assert description['class_names'] == [*NAMES]
  assert description['class_counts'] == [*COUNTS]


def test_labels_and_names_stand_in_the_npz(draw):
  every = arrays(draw('all.npz', '--num_samples=7'))
  assert every['labels'].tolist() == [0, 1, 2, 0, 1, 2, 0]
  assert every['class_names'].tolist() == [*NAMES]
  ten = arrays(draw('ten.npz', '--num_samples=7', '--class=10'))
  assert ten['labels'].tolist() == [2] * 7
  np.testing.assert_array_equal(
    ten['images'][2], every['images'][2]
  )  # of the same latent and class
  assert not (ten['images'][0] == every['images'][0]).all()
  two = arrays(draw('two.npz', '--num_samples=4', '--classes=10,1'))
  assert two['labels'].tolist() == [2, 0, 2, 0]
  often = arrays(draw('often.npz', '--num_samples=9', '--frequencies=training'))
  assert np.bincount(often['labels']).tolist() == [1, 2, 6]


def test_a_folder_has_a_folder_for_each_class(draw):
  folder = draw('pictures', '--seeds=5,7-9', '--classes=10,2')
  found = sorted(str(path.relative_to(folder)) for path in folder.rglob('*.png'))
  assert found == [
    '10/seed_000005.png',
    '10/seed_000008.png',
    '2/seed_000007.png',
    '2/seed_000009.png',
  ]


def test_a_seed_gives_the_same_sample_alone_and_among_others(draw, run):
  some = arrays(draw('some.npz', '--seeds=3-6', '--class=2'))
  alone = arrays(draw('alone.npz', '--seeds=5', '--class=2'))
  first = arrays(draw('first.npz', '--seed=5', '--num_samples=1', '--class=2'))
  assert some['seeds'].tolist() == [3, 4, 5, 6]
  np.testing.assert_array_equal(some['images'][2], alone['images'][0])
  np.testing.assert_array_equal(some['images'][2], first['images'][0])


def test_truncation_bounds_latents_and_wide_bounds_change_nothing(draw, run):
  whole = arrays(draw('whole.npz', '--num_samples=20'))
  wide = arrays(draw('wide.npz', '--num_samples=20', '--truncation=8'))
  narrow = arrays(draw('narrow.npz', '--num_samples=20', '--truncation=0.01', '--class=1'))
  assert np.abs(wide['images'].astype(int) - whole['images']).max() <= 1
  assert narrow['images'].astype(int).std(axis=0).max() < 2  # near the image of the latent 0


def test_a_walk_between_seeds_begins_and_ends_at_them(draw):
  seeds = arrays(draw('seeds.npz', '--seeds=3,17,42', '--class=2'))['images']
  walk = draw(
    'walk.webp', '--interpolate', '--seeds=3,17,42', '--class=2', '--frames=4', '--fps=10'
  )
  with Image.open(walk) as picture:
    assert (picture.format, picture.n_frames, picture.size) == ('WEBP', 9, (128, 128))
    frames = []
    for i in range(9):
      picture.seek(i)
      frames.append(np.asarray(picture.convert('RGB'))[::16, ::16, :1])
  for i, image in zip((0, 4, 8), seeds, strict=True):
    np.testing.assert_allclose(frames[i].astype(int), image, atol=1)
  with Image.open(draw('walk.gif', '--interpolate', '--frames=2')) as picture:
    assert (picture.format, picture.n_frames) == ('GIF', 9)
  with Image.open(draw('walk.png', '--interpolate', '--seeds=3,17,42')) as picture:
    assert picture.size == (13 * 20 + 4, 2 * 20 + 4)  # two rows of 13 images of 8 pixels, doubled


def test_an_earlier_run_takes_frequencies_from_its_data(run, tmp_path, monkeypatch):
  copy = shutil.copytree(run, tmp_path / 'copy')
  description = json.loads((copy / 'config.json').read_text())
  del description['class_names'], description['class_counts']
  (copy / 'config.json').write_text(json.dumps(description))
  loaded = load_run.load_run(copy, 'last')
  assert (loaded.class_names, loaded.class_counts) == ((), ())


@pytest.mark.parametrize(
  ('flags', 'fragments'),
  [
    (
      ('--class=11',),
      ('--class=11: 11 is no class; give one of 1, 2, 10, or a number from 0 to 2',),
    ),
    (('--class=1,2',), ('--class=1,2', '--classes')),
    (('--class=1', '--classes=2'), ('--class=1', '--classes=2')),
    (('--seeds=9-3',), ('--seeds=9-3',)),
    (('--seeds=x',), ('--seeds=x: write seeds as 0-63',)),
    (('--seeds=0-9999999',), ('--seeds=0-9999999: give at most 100,000',)),
    (('--seeds=1', '--num_samples=3'), ('--num_samples', '--seeds=1')),
    (('--seeds=1', '--seed=3'), ('--seed', '--seeds=1')),
    (('--truncation=-1',), ('--truncation=-1',)),
    (('--seeds=1', '--interpolate'), ('at least two seeds',)),
    (('--frequencies=often',), ('frequencies',)),
  ],
)
def test_mistakes_are_one_line(flags, fragments, run, scripts, tmp_path):
  ended = scripts('sample', f'--run={run}', f'--output={tmp_path / "x.png"}', *flags)
  commands.assert_mistake(ended, *fragments)


def test_flags_of_classes_and_truncation_need_a_run_that_has_them(scripts, trained, tmp_path):
  sample = ('sample', f'--run={trained}', f'--output={tmp_path / "x.png"}')
  commands.assert_mistake(scripts(*sample, '--class=1'), '--class=1: ', 'without --conditional')
  commands.assert_mistake(scripts(*sample, '--truncation=0.5'), '--latent=uniform')
  commands.assert_mistake(
    scripts('sample', f'--run={trained}', f'--output={tmp_path / "x.webp"}'), 'add --interpolate'
  )


def test_seeds_are_lists_of_numbers_and_ranges():
  assert sampling.parse_seeds('0-3, 10,7-7') == [0, 1, 2, 3, 10, 7]


def test_a_sample_is_inverted_with_its_picture_and_distance(run, draw, scripts, tmp_path):
  pictures = draw('one', '--seeds=5', '--class=10')
  invert = ('invert', f'--run={run}', f'--image={pictures / "10" / "seed_000005.png"}')
  picture, found = tmp_path / 'found.png', tmp_path / 'found.npz'
  ended = scripts(*invert, f'--output={picture}')
  assert (ended.code, ended.err) == (0, ''), ended
  assert ended.out.startswith('distance ')
  with Image.open(picture) as image:
    assert image.size == (2 * (3 * 10 + 2), 2 * (10 + 2))
  assert scripts(*invert, '--classes=10', f'--output={found}').code == 0
  result = arrays(found)
  assert (int(result['label']), result['latent'].shape, result['images'].shape) == (
    2,
    (4,),
    (3, 8, 8, 1),
  )
  assert result['distance'] < 3
  for flags, fragment in (
    (('--image=none.png',), '--image=none.png: '),
    (('--output=x.jpg',), '--output=x.jpg: '),
    (('--classes=11',), '--classes=11: 11 is no class'),
    (('--image=',), '--image: name a file'),
  ):
    commands.assert_mistake(scripts(*invert, *flags, cwd=tmp_path), fragment)
