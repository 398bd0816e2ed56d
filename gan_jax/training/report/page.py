"""Writes the report of a run, one HTML file; a missing part is replaced by the command that makes it."""

import functools
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from gan_jax.training.metric_writers import read_metrics
from gan_jax.training.report import (
  evidence_charts,
  evidence_tables,
  fork_tables,
  picture_embedding,
  run_charts,
  tables,
)
from gan_jax.training.report.number_format import format_value, is_number
from gan_jax.training.report.run_files import read_evaluations, read_flags, read_json
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

Values = dict[str, Any]

FILENAME = 'report.html'
_NO_VERDICT = 'Losses do not show whether a GAN worked; the referee tests it with a new D.'
# {verdict of the referee: (CSS class, sign, meaning)}
_VERDICTS = {
  'converged': ('good', '✓', 'Samples cannot be told from held-out data.'),
  'still improving': ('going', '↗', 'Samples still get better: train longer.'),
  'not settled': (
    'warn',
    '!',
    'G moves around the data: averaged weights or smaller steps get nearer.',
  ),
  'g behind': ('warn', '!', 'D works and tells samples apart: G has yet to catch up.'),
  'd too weak': ('warn', '!', "Samples differ from data, and the run's own D does not detect it."),
  'd too strong': ('warn', '!', 'D rejects every sample so surely that G gets no gradient.'),
  'd overfitted': ('warn', '!', 'D has memorised its training data and fails on held-out data.'),
  'mode collapse': ('bad', '✕', 'Samples leave out parts of the data.'),
  'memorised training data': ('bad', '✕', 'Samples are copies of training data.'),
  'diverged or cycling': ('bad', '✕', 'Training does not settle.'),
  'not enough evidence': ('unknown', '?', 'The measurements decide nothing with confidence.'),
  'no verdict yet': ('unknown', '?', _NO_VERDICT),
}
_SET_NAMES = {'train': 'training examples', 'held_out': 'held-out examples', 'fake': 'samples'}


def write_run_page(folder: Path) -> Path:
  """Writes the report of the run in `folder`, passing over missing and damaged files, and returns its path.

  The same files give the same bytes. Raises UserError where `folder` holds no config.json.
  """
  if not (folder / 'config.json').exists():
    raise UserError(f'--run={folder}: there is no run here (no config.json)')
  config = read_json(folder / 'config.json')
  flags = read_flags(config)
  records = read_metrics(folder / 'metrics.jsonl')
  verdict, evaluations = read_json(folder / 'referee.json'), read_evaluations(folder)
  step = max((r['step'] for r in records if is_number(r.get('step'))), default=0)
  curve = run_charts.score_curve(records)
  values = _verdict_values(verdict, evaluations[0][1] if evaluations else {})
  values |= _config_values(folder, config) | {
    'name': folder.resolve().name,
    'step': step,
    'stale': is_number(verdict.get('step')) and step > verdict['step'],
    'tiles': _tiles(flags, records, curve, step),
    'alarms': run_charts.alarm_records(records),
    'training': run_charts.training_charts(records, flags, verdict.get('evidence') or {}),
    'pictures': picture_embedding.sample_pictures(folder, curve),
    'evidence_pictures': picture_embedding.verdict_pictures(folder, verdict.get('step')),
    'forks': fork_tables.fork_tables(folder),
    'evaluations': [(title, tables.evaluation_tables(x)) for title, x in evaluations],
    'protocols': _protocols(('referee', verdict), *evaluations),
  }
  path = folder / FILENAME
  write_atomically(path, _template().render(values).encode(errors='replace'))
  return path


def write_verdict_page(
  path: Path, verdict: Values, pictures: Mapping[str, Image.Image] | None = None
) -> Path:
  """Writes the report of a verdict on samples without a run to `path`, and returns it.

  Args:
    path: of the HTML file.
    verdict: the keys of a referee.json.
    pictures: those that explain the verdict, by kind: 'difference', 'copies'.
  """
  values = _verdict_values(verdict, {}) | {
    'name': path.stem,
    'run': None,
    'evidence_pictures': picture_embedding.embed_images(pictures or {}),
    'protocols': _protocols(('referee', verdict)),
  }
  write_atomically(path, _template().render(values).encode(errors='replace'))
  return path


@functools.cache
def _template() -> jinja2.Template:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,  # names of flags and folders are arbitrary text
    undefined=jinja2.ChainableUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters |= {'value': format_value, 'shell': shlex.quote}
  return environment.get_template('page.html.jinja')


def _protocols(*sources: tuple[str, Values]) -> list[tuple[str, list[tuple[str, str]]]]:
  """Returns the protocols of verdicts and evaluations as (title, rows)."""
  given = [(title, values['protocol']) for title, values in sources if values.get('protocol')]
  return [(title, tables.protocol_rows(protocol)) for title, protocol in given]


def _config_values(folder: Path, config: Values) -> Values:
  """Returns the template's values from a config.json: flags, machine, and commands to repeat the run."""
  flags, ran_on = read_flags(config), config.get('ran_on')
  changed, others = tables.flag_rows(flags)
  return {
    'run': str(folder),
    'about': [
      *(str(flags[name]) for name in ('dataset', 'network', 'loss') if flags.get(name)),
      *_source(config),
    ],
    'changed_flags': changed,
    'other_flags': others,
    'machine': ran_on[-1] if isinstance(ran_on, list) and ran_on else {},
    'data': config.get('data'),
    'train_command': tables.train_command(flags, str(folder)),
    'evaluate_command': tables.script_command('evaluate', f'--run={folder}'),
    'referee_command': tables.script_command('referee', f'--run={folder}'),
  }


def _source(config: Values) -> list[str]:
  """Returns the name and step of the run from which a run was begun, if any."""
  record = config.get('forked_from')
  if not isinstance(record, dict) or not isinstance(record.get('run'), str):
    return []
  return [f'from {Path(record["run"]).name} at step {format_value(record.get("step"))}']


def _verdict_values(verdict: Values, evaluation: Values) -> Values:
  """Returns the template's values from a verdict, its evidence and the newest evaluation."""
  evidence, judged = verdict.get('evidence') or {}, verdict if verdict.get('verdict') else {}
  name = str(judged.get('verdict', 'No verdict yet'))
  tone, sign, meaning = _VERDICTS.get(name.lower(), ('unknown', '?', ''))
  counts = (evidence.get('n') or {}).items() if judged else ()
  return {
    'judged': bool(judged),
    'verdict': name,
    'tone': tone,
    'sign': sign,
    'meaning': meaning,
    'confidence': judged.get('confidence'),
    'judged_step': judged.get('step'),
    'facts': judged.get('facts') or [],
    'advice': [_split_at_flags(str(line)) for line in judged.get('advice') or []],
    'counts': [f'{format_value(n)} {_SET_NAMES.get(name, name)}' for name, n in counts],
    'difference': evidence_tables.difference_parts(evidence),
    'evidence': evidence_charts.evidence_charts(evidence, evaluation),
    'evidence_tables': evidence_tables.evidence_tables(evidence),
  }


def _split_at_flags(line: str) -> list[str]:
  """Splits a line of advice into [text, flag, text, flag, ..., text]."""
  parts = re.split(r'(--\w+(?:=[^\s:;,]+)?)', line)
  # The colon of "--flag: why" is dropped: the page shows a flag as code.
  return parts[:1] + [part.removeprefix(':') for part in parts[1:]]


def _tiles(
  flags: Values, records: list[Values], curve: run_charts.ScoreCurve | None, step: int
) -> list[tuple[str, str, str]]:
  """Returns the key figures of a run as (heading, value, detail)."""
  steps = flags.get('steps')
  tiles = [('step', format_value(step), f'of {format_value(steps)}' if steps else '')]
  if curve:
    best, arrow = curve.best_index, '↑' if curve.higher_is_better else '↓'
    at = f'at step {format_value(curve.steps[best])}'
    tiles += [
      (f'last {arrow}', format_value(curve.values[-1]), tables.metric_title(curve.name)),
      (f'best {arrow}', format_value(curve.values[best]), at),
    ]
  speeds = sorted(r['steps_per_second'] for r in records if is_number(r.get('steps_per_second')))
  if speeds:
    tiles.append(('speed', format_value(speeds[len(speeds) // 2]), 'steps per second, median'))
  alarms = run_charts.alarm_records(records)
  if alarms:
    last = f'the last at step {format_value(alarms[-1]["step"])}'
    tiles.append(('alarms', format_value(len(alarms)), last))
  return tiles
