"""Tests the report of a run: order, missing parts, and hostile text."""

import base64
import dataclasses
import html.parser
import io
import json
import math
import re
import shlex

import pytest
from PIL import Image

from gan_jax.config.run_config import Config
from gan_jax.training import report
from gan_jax.training.report import evidence_tables, fork_tables, run_charts, tables
from gan_jax.utils.errors import UserError
from tests.helpers import run_folders
from tests.helpers.run_folders import (
  EARLIER_EVIDENCE,
  HOSTILE,
  PARTS,
  RECORDS,
  VERDICT,
  update_json,
  write_picture,
)


@pytest.fixture
def run(tmp_path):
  folder = tmp_path / 'run'
  run_folders.write_run(folder)
  return folder


class Parsed(html.parser.HTMLParser):
  """Holds the elements, with attributes, and the text of a page."""

  def __init__(self, path):
    super().__init__()
    self.elements, self.text = [], ''
    self.feed(path.read_text())

  def handle_starttag(self, tag, attributes):
    self.elements.append((tag, dict(attributes)))

  def handle_data(self, data):
    self.text += data

  def of(self, tag):
    return [attributes for name, attributes in self.elements if name == tag]


# Content


def test_the_verdict_comes_first_then_evidence_then_the_commands(run):
  text = Parsed(report.write_run_page(run)).text
  in_order = (
    *('D too weak', '93 %', 'a fresh D finds 0.41 nats', '--k=2', 'Judged at step 40'),
    *('What the difference consists of', '0.240 by fine detail', '0.120 by missing modes'),
    *('What each fresh discriminator proves', 'What noise hides', "The run's own D"),
    *('Where data and samples are', 'Where samples and data differ', 'Samples beside the training'),
    *('Losses', "D's beliefs", 'Frechet distance, validation', 'collapse at step 30'),
    *('best, step 20', 'last, step 40', 'Nearest training images'),
    *('Fresh discriminators', 'Samples beside real data', 'Copies of training data'),
    *('Parzen', 'Protocol', 'Flags'),
    *('--conditional=True', 'at their defaults', 'Reproduce', 'experiments.train', 'jax 0.10'),
  )
  at = -1
  for words in in_order:
    at = text.find(words, at + 1)
    assert at >= 0, words


def test_the_same_files_make_the_same_bytes(run):
  first = report.write_run_page(run).read_bytes()
  assert report.write_run_page(run).read_bytes() == first


def test_the_command_to_train_names_every_flag_that_is_not_at_its_default(run):
  config = Config(dataset="a b'c", d_lr=1e-3, conditional=True, k='0.5', r1=0.0, steps=60)
  words = tables.train_command(dataclasses.asdict(config), 'runs/x y')
  assert words[:3] == ['python', '-m', 'experiments.train']
  assert words[-1] == '--run=runs/x y'
  given = {}
  for word in words[3:-1]:
    name, _, value = word.removeprefix('--').partition('=')
    default = getattr(Config(), name)
    given[name] = True if not value else type(default)(value)
  assert Config(**given) == config
  update_json(run, 'config.json', flags=dataclasses.asdict(config))
  line = next(
    x for x in Parsed(report.write_run_page(run)).text.splitlines() if 'experiments.train' in x
  )
  assert shlex.split(line)[:-1] == words[:-1]


def test_flags_that_differ_come_first_and_those_of_another_version_are_shown():
  changed, others = tables.flag_rows(dataclasses.asdict(Config(steps=7)) | {'gone': 1})
  assert [row.name for row in changed] == ['--steps', '--gone']
  assert len(others) == len(dataclasses.fields(Config)) - 1


def test_the_score_is_named_after_its_metric():
  score = run_charts.score_curve(RECORDS)
  assert score.name == 'validation_frechet_ema'
  assert not score.higher_is_better
  assert (score.steps, score.values, score.best_index) == ([20, 40], [4.0, 8.0], 0)
  assert run_charts.score_curve([{'step': 1, 'score': 2.0}]).name == 'score'
  assert run_charts.score_curve([{'step': 1, 'd_loss': 2.0}]) is None


def test_a_verdict_older_than_the_last_checkpoint_is_marked(run):
  assert 'judge it again' not in report.write_run_page(run).read_text()
  update_json(run, 'referee.json', step=20)
  assert 'judge it again' in report.write_run_page(run).read_text()


# Missing parts


@pytest.mark.parametrize('name', PARTS[1:])
@pytest.mark.parametrize('damaged', [False, True])
def test_a_missing_or_damaged_part_is_omitted_and_mentioned(name, damaged, run):
  for path in [run / name, *run.glob(f'{name}/*')]:
    if damaged and path.is_file():
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif path.is_file():
      path.unlink()
  text = Parsed(report.write_run_page(run)).text
  words = {
    'metrics.jsonl': 'Reproduce' if damaged else 'No records of the training yet',
    'referee.json': 'No verdict yet',
    'evaluation_test_00000040.json': 'No evaluation yet',
    'samples': 'No picture of samples yet',
  }[name]
  assert words in text
  if name != 'referee.json':
    assert 'D too weak' in text


def test_a_folder_without_a_run_raises(tmp_path):
  with pytest.raises(UserError, match='there is no run here'):
    report.write_run_page(tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_bare_config_is_enough(run):
  for path in (*run.glob('*.json'), *run.glob('*.jsonl'), *run.glob('samples/*')):
    if path.name != 'config.json':
      path.unlink()
  text = Parsed(report.write_run_page(run)).text
  assert 'No verdict yet' in text
  (run / 'config.json').write_text('{')
  report.write_run_page(run)


def without_each_key(values):
  """Yields `values` without each key, and with None for each key."""
  for key in values:
    yield {name: value for name, value in values.items() if name != key}
    yield values | {key: None}


def assert_page_shows_no_missing_value(path, verdict):
  text = Parsed(report.write_verdict_page(path, verdict)).text
  assert ('Undefined' in text, 'None' in text, 'nan' in text) == (False, False, False), verdict


def test_every_key_of_a_verdict_is_optional(tmp_path):
  evidence = list(without_each_key(VERDICT['evidence']))
  less = [{}, {'verdict': 'not enough evidence'}, *without_each_key(VERDICT)]
  for verdict in (*less, *(VERDICT | {'evidence': fewer} for fewer in evidence)):
    assert_page_shows_no_missing_value(tmp_path / 'page.html', verdict)


@pytest.mark.parametrize(
  'group', [k for k, v in VERDICT['evidence'].items() if isinstance(v, dict)]
)
def test_every_key_of_the_evidence_is_optional(group, tmp_path):
  evidence = VERDICT['evidence']
  for fewer in without_each_key(evidence[group]):
    verdict = VERDICT | {'evidence': evidence | {group: fewer}}
    assert_page_shows_no_missing_value(tmp_path / 'page.html', verdict)


def test_a_verdict_on_sample_files_has_evidence_but_no_training(tmp_path):
  text = Parsed(report.write_verdict_page(tmp_path / 'samples.html', VERDICT)).text
  for words in (
    'samples',
    'D too weak',
    'What each fresh discriminator proves',
    'belong to no run',
  ):
    assert words in text
  for words in ('experiments.', 'Flags', 'Reproduce', 'Training\n'):
    assert words not in text


def test_a_verdict_of_an_earlier_version_is_shown(tmp_path):
  verdict = VERDICT | {'evidence': EARLIER_EVIDENCE}
  text = Parsed(report.write_verdict_page(tmp_path / 'samples.html', verdict)).text
  for words in ('What each fresh discriminator proves', 'What noise hides', '0.390 to 0.430'):
    assert words in text
  assert 'What the difference consists of' not in text


def test_a_difference_within_chance_has_no_parts():
  evidence = VERDICT['evidence']
  found = evidence_tables.difference_parts(evidence)
  assert found.nats == 0.41
  assert [(part.name, part.share) for part in found.parts] == [
    ('fine detail', pytest.approx(0.6)),
    ('missing modes', pytest.approx(0.3)),
    ('coarse structure', pytest.approx(0.1)),
  ]
  probe = evidence['probes'][0]
  by_chance = evidence | {'probes': [probe | {'bound': 0.003, 'chance': 0.004}]}
  assert evidence_tables.difference_parts(by_chance) is None
  assert evidence_tables.difference_parts(evidence | {'parts': []}) is None


def test_tables_of_the_evidence_put_held_out_data_beside_samples():
  tables_by_title = {
    table.title: table for table in evidence_tables.evidence_tables(VERDICT['evidence'])
  }
  copies = tables_by_title['Copies of training data']
  assert copies.columns == ['samples', 'held-out data']
  assert [row.cells for row in copies.rows[:3]] == [
    ['0.2', '0.01'],
    ['0.3', '0.011'],
    ['1e−06', '–'],
  ]
  assert '1,000 training examples' in copies.note
  probes = tables_by_title['Fresh discriminators']
  assert probes.rows[0].cells == ['0.410', '0.390 to 0.430', '0.002', '0.930', '< 0.0001']
  assert probes.rows[2].cells == ['−0.001', '−0.003 to 0.001', '0.002', '0.510', '0.3']


# Pictures of the verdict, and forks


def test_pictures_of_a_verdict_are_those_of_its_step(run):
  captions = lambda: [image['alt'] for image in Parsed(report.write_run_page(run)).of('img')][:2]
  assert captions() == [
    'Where samples and data differ',
    'Samples beside the training examples closest to them',
  ]
  update_json(run, 'referee.json', step=20)
  assert captions() == ['Samples: best, step 20', 'Samples: last, step 40']


def test_saved_pictures_replace_those_of_an_earlier_verdict(run):
  picture = Image.new('RGB', (4, 3), (9, 8, 7))
  report.save_verdict_pictures(run, 40, {'difference': picture})
  assert not (run / 'samples' / 'copies_00000040.png').exists()
  with Image.open(run / 'samples' / 'difference_00000040.png') as saved:
    assert saved.tobytes() == picture.tobytes()
  assert (run / 'samples' / 'grid_00000040.png').exists()


def test_a_page_without_a_run_embeds_pictures(tmp_path):
  picture = Image.new('RGB', (4, 3), (9, 8, 7))
  page = Parsed(
    report.write_verdict_page(tmp_path / 'x.html', VERDICT, pictures={'copies': picture})
  )
  (image,) = page.of('img')
  data = base64.b64decode(image['src'].split(',', 1)[1])
  assert Image.open(io.BytesIO(data)).tobytes() == picture.tobytes()


def write_fork(source, name, step=20, score=3.0, **flags):
  """Writes a run in the folder that holds `source`, begun from it."""
  fork = source.parent / name
  run_folders.write_run(fork)
  values = json.loads((fork / 'config.json').read_text())
  record = {'run': str(source.resolve()), 'step': step, 'sha256': 'c' * 64}
  update_json(fork, 'config.json', flags=values['flags'] | flags, forked_from=record)
  record = {'step': 60, 'validation_frechet_ema': score, 'score': -score}
  with (fork / 'metrics.jsonl').open('a') as file:
    file.write(json.dumps(record) + '\n')
  return fork


def test_forks_stand_beside_their_source(run):
  assert fork_tables.fork_tables(run) == []
  write_fork(run, 'faster', k='2', steps=80)
  fork = write_fork(run, 'again', score=5.0, steps=80)
  write_fork(fork, 'of_a_fork', d_lr=1e-4)
  (table,) = fork_tables.fork_tables(run)
  assert table.title == 'run and its forks'
  assert table.columns == ['best ↓', 'last ↓', 'steps', 'from step', 'verdict']
  assert [(row.name, row.detail, *row.cells) for row in table.rows] == [
    ('run', '', '4', '8', '40', '–', 'D too weak'),
    ('again', 'unchanged', '4', '5', '60', '20', 'D too weak'),
    ('faster', '--k=2', '3', '3', '60', '20', 'D too weak'),
  ]
  assert [row.of_this_run for row in table.rows] == [True, False, False]
  own, of_source = fork_tables.fork_tables(fork)
  assert [(row.name, row.of_this_run) for row in own.rows] == [
    ('again', True),
    ('of_a_fork', False),
  ]
  assert [row.of_this_run for row in of_source.rows] == [False, True, False]
  text = Parsed(report.write_run_page(fork)).text
  assert 'again and its forks' in text
  assert 'from run at step 20' in text


@pytest.mark.parametrize('forked_from', [HOSTILE, {'run': 7}, {'run': HOSTILE}, [], {'run': '.'}])
def test_a_damaged_record_of_a_source_is_passed_over(forked_from, run):
  fork = write_fork(run, 'fork')
  update_json(fork, 'config.json', forked_from=forked_from)
  (run.parent / 'broken').mkdir()
  (run.parent / 'broken' / 'config.json').write_text('[[')
  assert fork_tables.fork_tables(run) == []
  report.write_run_page(fork)


# Hostile text, network, size


def test_hostile_strings_stay_text(run):
  flags = dataclasses.asdict(Config()) | {'dataset': HOSTILE, HOSTILE: HOSTILE}
  update_json(run, 'config.json', flags=flags, data=HOSTILE, ran_on=[{'commit': HOSTILE}])
  verdict = json.loads(json.dumps(VERDICT).replace('D too weak', json.dumps(HOSTILE)[1:-1]))
  verdict |= {
    'facts': [HOSTILE],
    'advice': [f'--x={HOSTILE}: {HOSTILE}'],
    'protocol': {HOSTILE: HOSTILE},
  }
  (run / 'referee.json').write_text(json.dumps(verdict))
  update_json(
    run,
    'evaluation_test_00000040.json',
    watched={'raw': {HOSTILE: 1}},
    parzen={HOSTILE: {'mean': 1}},
  )
  with (run / 'metrics.jsonl').open('a') as file:
    file.write(json.dumps({'step': 40, 'alarm': HOSTILE, 'says': HOSTILE}) + '\n')
  page = Parsed(report.write_run_page(run))
  assert page.text.count('alert(1)') > 12
  assert not page.of('script')
  assert not [name for _, attributes in page.elements for name in attributes if name[:2] == 'on']
  assert all(image['src'].startswith('data:image/') for image in page.of('img'))


def test_the_page_loads_no_external_resource(run):
  page = Parsed(report.write_run_page(run))
  sources = [x[k] for _, x in page.elements for k in ('src', 'href', 'srcset') if k in x]
  assert len(sources) == 6
  assert all(source.startswith('data:') for source in sources)
  (policy,) = [x['content'] for x in page.of('meta') if 'http-equiv' in x]
  assert policy.startswith("default-src 'none'; img-src data:;")
  assert all(x['xlink:href'].startswith('#') for _, x in page.elements if 'xlink:href' in x)
  assert not re.search(r'url\((?!#)|@import', (run / 'report.html').read_text())


def test_pictures_are_embedded_and_large_ones_are_reduced(run):
  small = (run / 'samples' / 'grid_00000020.png').read_bytes()
  write_picture(run / 'samples' / 'grid_00000040.png', 1400)  # noise: 6 MB
  path = report.write_run_page(run)
  page = Parsed(path)
  assert path.stat().st_size < 3e6
  first, second = (
    base64.b64decode(image['src'].split(',', 1)[1])
    for image in page.of('img')
    if image['alt'].startswith('Samples: ')
  )
  assert first == small
  with Image.open(io.BytesIO(second)) as reduced:
    assert reduced.size == (900, 900)
  assert 'Made smaller' in page.text


def test_the_page_of_a_long_run_is_short(run):
  records = [RECORDS[0] | {'step': step, 'd_loss': math.sin(step)} for step in range(1, 20_000)]
  (run / 'metrics.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in records))
  assert report.write_run_page(run).stat().st_size < 200_000
