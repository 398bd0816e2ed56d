import copy
import json
import re

import pytest

from gan_jax.evaluation import compare_runs
from gan_jax.utils.errors import UserError

PROTOCOL = {'dataset': 'mnist', 'split': 'test', 'n_samples': 10_000, 'features': 'f1', 'seed': 0}
INCEPTION = {'features': 'inception 1234', 'n_samples': 5000, 'seed': 0}


def evaluation(base=1.0, inception=True):
  """Returns the content of an evaluation file, with scores in proportion to `base`."""
  scores = lambda x: {'frechet': x, 'recall': None}
  values = {
    'protocol': PROTOCOL,
    'parzen': {
      x: {'mean': 200 * base, 'standard_error': 2.0, 'sigma': 0.2} for x in ('raw', 'ema')
    },
    'references': {'real': {'mean': 240.0}},
    'features': {
      'raw': scores(base),
      'ema': scores(2 * base),
      'train': scores(0.5),
      'fresh': scores(0.25),
    },
    'class_shares': [0.5, 0.5],
    'modes': {},
    'watched': {'raw': {'d_loss': 1.0}, 'ema': {'d_loss': 1.0}},
    'checkpoint': 100,
  }
  if inception:
    values['inception'] = {
      'protocol': INCEPTION,
      'scores': {'raw': scores(10 * base), 'ema': scores(20 * base), 'train': scores(3.0)},
      'n': {'raw': 5000},
    }
  return copy.deepcopy(values)


def write(folder, values, step=100, split='test'):
  folder.mkdir(exist_ok=True)
  (folder / f'evaluation_{split}_{step:08d}.json').write_text(json.dumps(values))
  return str(folder)


def row(lines, name, nth=0):
  return [line.split()[1:] for line in lines if line.startswith(f'{name} ')][nth]


def test_each_run_and_each_set_of_real_images_has_a_column(tmp_path):
  runs = [write(tmp_path / name, evaluation(base)) for name, base in (('a', 1), ('b', 2))]
  evaluations = [compare_runs.read_evaluation(run, 'test') for run in runs]
  lines = compare_runs.comparison_table(evaluations, 'ema')
  assert row(lines, 'frechet') == ['2', '4', '0.5', '0.25']
  assert row(lines, 'frechet', 1) == ['20', '40', '3']
  assert row(lines, 'recall') == ['-'] * 4
  assert row(lines, 'parzen')[:2] == ['200', '400']
  assert not any('d_loss' in line for line in lines)  # by each run's own discriminator
  assert row(compare_runs.comparison_table(evaluations, 'raw'), 'frechet')[:2] == ['1', '2']
  assert all(run in lines[0] for run in runs)


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('n_samples', 500),
    ('split', 'validation'),
    ('features', 'f2'),
    ('seed', 1),
    ('contrast', '55'),
  ],
)
def test_unlike_protocols_are_refused_by_field(tmp_path, field, value):
  other = evaluation()
  other['protocol'][field] = value
  places = write(tmp_path / 'a', evaluation()), write(tmp_path / 'b', other)
  evaluations = [compare_runs.read_evaluation(place, 'test') for place in places]
  first = PROTOCOL.get(field, '(missing)')
  message = re.escape(
    f'{places[0]} and {places[1]} are not comparable: their protocols differ in '
    f'{field} {first} and {value}; '
  )
  with pytest.raises(UserError, match=message):
    compare_runs.comparison_table(evaluations, 'ema')


def test_every_field_that_differs_is_named_in_one_line(tmp_path):
  other = evaluation()
  other['protocol'] |= {'seed': 3, 'n_samples': 7, 'dataset': 64 * 'x'}
  evaluations = [
    compare_runs.read_evaluation(write(tmp_path / x, y), 'test')
    for x, y in (('a', evaluation()), ('b', other))
  ]
  with pytest.raises(UserError) as error:
    compare_runs.check_same_protocol(evaluations)
  assert 'dataset mnist and xxxxxxxxxxxxxxxx...; n_samples 10000 and 7; seed 0 and 3' in str(
    error.value
  )
  assert '\n' not in str(error.value)


def test_other_weights_of_a_network_are_refused(tmp_path):
  other = evaluation()
  other['inception']['protocol']['features'] = 'inception abcd'
  evaluations = [
    compare_runs.read_evaluation(write(tmp_path / name, values), 'test')
    for name, values in (('a', evaluation()), ('b', evaluation()), ('c', other))
  ]
  compare_runs.check_same_protocol(evaluations[:2])
  with pytest.raises(
    UserError, match='of inception differ in features inception 1234 and inception abcd'
  ):
    compare_runs.check_same_protocol(evaluations)


def test_networks_that_some_runs_lack_are_left_out(tmp_path):
  evaluations = [
    compare_runs.read_evaluation(write(tmp_path / name, evaluation(inception=name == 'a')), 'test')
    for name in 'ab'
  ]
  lines = compare_runs.comparison_table(evaluations, 'ema')
  assert row(lines, 'frechet') == ['2', '2', '0.5', '0.25']
  assert lines[-1].startswith('inception: not in the evaluations of all')


def test_synthetic_data_and_pixel_distances_are_compared(tmp_path):
  game = {
    'protocol': {'game': 'ring', 'n_samples': 2500},
    'oracle': {'raw': {'modes': 7.0}, 'ema': {'modes': 8.0}},
    'truth': {'modes': 8.0},
  }
  pixels = {
    'protocol': {'metric': 'pixels'},
    'pixel_frechet': {'raw': 2.0, 'ema': 1.0, 'real': 0.1},
  }
  for values, name, expected in (
    (game, 'modes', ['8', '8']),
    (pixels, 'pixel_frechet', ['1', '1', '0.1']),
  ):
    evaluations = [compare_runs.read_evaluation(write(tmp_path / x, values), 'test') for x in 'ab']
    assert row(compare_runs.comparison_table(evaluations, 'ema'), name) == expected


def test_a_folder_gives_its_newest_evaluation_of_the_split(tmp_path):
  write(tmp_path / 'a', evaluation(1), 100)
  write(tmp_path / 'a', evaluation(2), 2000)
  write(tmp_path / 'a', evaluation(3), 3000, 'validation')
  frechet = lambda place, split: compare_runs.read_evaluation(str(place), split).scores['']['ema'][
    'frechet'
  ]
  assert frechet(tmp_path / 'a', 'test') == 4
  assert frechet(tmp_path / 'a', 'validation') == 6
  assert frechet(tmp_path / 'a/evaluation_test_00000100.json', 'validation') == 2


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (None, 'no evaluation on test images'),
    ('{', 'is no evaluation'),
    ('[1]', 'is no evaluation'),
    ('{}', 'is no evaluation'),
  ],
)
def test_other_files_are_refused(tmp_path, content, message):
  if content is not None:
    (tmp_path / 'evaluation_test_00000001.json').write_text(content)
  with pytest.raises(UserError, match=f'--runs={tmp_path}: .*{message}'):
    compare_runs.read_evaluation(str(tmp_path), 'test')
  with pytest.raises(UserError, match='No such file'):
    compare_runs.read_evaluation(str(tmp_path / 'none'), 'test')
