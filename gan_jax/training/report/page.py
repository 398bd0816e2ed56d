"""Writes report.html from what a run's folder holds; what is missing is left out, with what would make it."""

import base64
import functools
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from PIL import Image

from gan_jax.training.metric_writers import read_metrics
from gan_jax.training.report import charts, figures, tables
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

Values = dict[str, Any]

NAME = 'report.html'
_INLINE = 600_000  # bytes of a picture that is put into the page as it is
_LARGEST = 900  # pixels a side of one that is not
_SHOWN = ('grid', 'points')  # pictures of samples: of images, of a game
# How each verdict of the referee looks, and what it says in plain words.
_VERDICTS = {
  'converged': ('good', '✓', 'Samples cannot be told from data that nobody trained on.'),
  'still improving': ('going', '↗', 'It works, and it is not at its end: train on.'),
  'g behind': ('warn', '!', 'D is healthy and tells samples apart: G has yet to catch up.'),
  'd too weak': (
    'warn',
    '!',
    'Samples differ from data, and the D that teaches G does not see it.',
  ),
  'd too strong': (
    'warn',
    '!',
    'D rejects every sample with such ease that G learns nothing from it.',
  ),
  'd overfitted': ('warn', '!', 'D knows its training data by heart, and fails on others.'),
  'mode collapse': ('bad', '✕', 'Samples leave out parts of the data.'),
  'memorised training data': ('bad', '✕', 'Samples are copies of training data.'),
  'diverged or cycling': ('bad', '✕', 'Training does not settle.'),
  'not enough evidence': ('unknown', '?', 'Nothing can be said with confidence.'),
}

_COUNTED = {'train': 'training examples', 'held_out': 'held-out examples', 'fake': 'samples'}


def write(folder: Path) -> Path:
  """Write the page of the run in `folder` and return its path; raises UserError where there is no run.

  Of the same files it makes the same bytes. A file that is missing or damaged is passed over.
  """
  if not (folder / 'config.json').exists():
    raise UserError(f'--run={folder}: there is no run here (no config.json)')
  description = _read(folder / 'config.json')
  flags = description.get('flags') or {}
  records = read_metrics(folder / 'metrics.jsonl')
  verdict, found = _read(folder / 'referee.json'), _evaluations(folder)
  newest = found[0][1] if found else {}
  step = max((r['step'] for r in records if charts.known(r.get('step'))), default=0)
  score = figures.score_of(records)
  page = (
    _judged(verdict, newest)
    | _described(folder, description)
    | {
      'name': folder.resolve().name,
      'step': step,
      'stale': step > verdict['step'] if charts.known(verdict.get('step')) else False,
      'tiles': _tiles(flags, records, score, step),
      'alarms': figures.alarms(records),
      'training': figures.training(records, flags),
      'progress': figures.progress(records, verdict.get('evidence') or {}),
      'pictures': _pictures(folder, score),
      'neighbours': _newest_picture(folder, 'neighbours'),
      'evaluations': [(name, tables.evaluation(values)) for name, values in found],
      'protocols': [
        (name, tables.pairs(values.get('protocol') or {}))
        for name, values in [('referee', verdict), *found]
        if values.get('protocol')
      ],
    }
  )
  path = folder / NAME
  write_atomically(path, _template().render(page).encode())
  return path


def write_verdict(path: Path, verdict: Values) -> Path:
  """Write the page of a verdict on samples that belong to no run, of the shape of a referee.json."""
  page = _judged(verdict, {}) | {
    'run': None,
    'name': path.stem,
    'protocols': [('referee', tables.pairs(verdict['protocol']))]
    if verdict.get('protocol')
    else [],
  }
  write_atomically(path, _template().render(page).encode())
  return path


@functools.cache
def _template() -> jinja2.Template:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,  # flags and folders may be called anything
    undefined=jinja2.ChainableUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters |= {'say': charts.say, 'shell': shlex.quote}
  environment.globals['charts'] = charts
  return environment.get_template('page.html.jinja')


def _read(path: Path) -> Values:
  """A JSON object; {} where there is none, or it cannot be read."""
  try:
    values = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return values if isinstance(values, dict) else {}


def _evaluations(folder: Path) -> list[tuple[str, Values]]:
  """Every evaluation with what it is called, the latest step first, test before validation."""
  found = []
  for path in folder.glob('evaluation_*_*.json'):
    match = re.fullmatch(r'evaluation_(\w+)_(\d+)', path.stem)
    values = _read(path)
    if match and values:
      found.append((-int(match[2]), match[1], values))
  found.sort(key=lambda x: x[:2])
  return [(f'step {-step:,}, {split} split', values) for step, split, values in found]


def _described(folder: Path, description: Values) -> Values:
  """What a config.json puts on the page: flags, the machine, and how to get there again."""
  flags = description.get('flags') or {}
  changed, others = tables.flags(flags)
  return {
    'run': str(folder),
    'about': [str(flags[name]) for name in ('dataset', 'network', 'loss') if flags.get(name)],
    'changed_flags': changed,
    'other_flags': others,
    'machine': (description.get('ran_on') or [{}])[-1],
    'data': description.get('data'),
    'train_command': tables.train_command(flags, str(folder)),
    'evaluate_command': tables.command('evaluate', f'--run={folder}'),
    'referee_command': tables.command('referee', f'--run={folder}'),
  }


def _judged(verdict: Values, evaluation: Values) -> Values:
  """What a verdict and its evidence put on the page."""
  evidence = verdict.get('evidence') or {}
  said = verdict.get('verdict')
  tone, sign, meaning = _VERDICTS.get(str(said).lower(), ('unknown', '?', ''))
  return {
    'verdict': said,
    'tone': tone,
    'sign': sign,
    'meaning': meaning,
    'confidence': verdict.get('confidence'),
    'judged_step': verdict.get('step'),
    'facts': verdict.get('facts') or [],
    'advice': [_advice(str(line)) for line in verdict.get('advice') or []],
    'counts': [
      f'{charts.say(n)} {_COUNTED.get(what, what)}' for what, n in (evidence.get('n') or {}).items()
    ],
    'evidence': [x for x in (figures.ladder(evidence), figures.logits(evidence)) if x],
    'coverage': figures.cells(evidence, evaluation),
    'evidence_tables': tables.evidence(evidence),
  }


def _advice(line: str) -> list[str]:
  """A line of advice as words in turn with the flags that it names: text, flag, text, flag, ..., text."""
  parts = re.split(r'(--\w+(?:=[^\s:;,]+)?)', line)
  # "--flag: why" needs no colon where a flag does not look like text.
  return parts[:1] + [part.removeprefix(':') for part in parts[1:]]


def _tiles(
  flags: Values, records: list[Values], score: figures.Score | None, step: int
) -> list[tuple[str, str, str]]:
  """The numbers at the top: (what, how much, more)."""
  steps = flags.get('steps')
  tiles = [('step', charts.say(step), f'of {charts.say(steps)}' if steps else '')]
  if score:
    name = tables.title_of(score.name)
    arrow = '↑' if score.higher_is_better else '↓'
    last, best = charts.say(score.values[-1]), charts.say(score.values[score.best])
    tiles.append((f'last {arrow}', last, name))
    tiles.append((f'best {arrow}', best, f'at step {charts.say(score.steps[score.best])}'))
  speeds = sorted(r['steps_per_second'] for r in records if charts.known(r.get('steps_per_second')))
  if speeds:
    tiles.append(('speed', charts.say(speeds[len(speeds) // 2]), 'steps a second, median'))
  rang = figures.alarms(records)
  if rang:
    tiles.append(
      ('alarms', charts.say(len(rang)), f'the last at step {charts.say(rang[-1]["step"])}')
    )
  return tiles


class Picture(NamedTuple):
  """A picture in the page."""

  caption: str
  source: str  # a data URI
  width: int  # pixels
  height: int
  reduced: bool = False


def _pictures(folder: Path, score: figures.Score | None) -> list[Picture]:
  """Samples of the best and of the last step that has a picture; one where these are the same."""
  for kind in _SHOWN:
    steps = _painted_steps(folder, kind)
    if not steps:
      continue
    last, best = max(steps), score.steps[score.best] if score else None
    if best == last:
      return _some(_picture(steps[last], f'best and last, step {last:,}'))
    first = _picture(steps[best], f'best, step {best:,}') if best in steps else None
    return _some(first, _picture(steps[last], f'last, step {last:,}'))
  return []


def _newest_picture(folder: Path, kind: str) -> Picture | None:
  steps = _painted_steps(folder, kind)
  return _picture(steps[max(steps)], f'step {max(steps):,}') if steps else None


def _painted_steps(folder: Path, kind: str) -> dict[int, Path]:
  matches = ((re.fullmatch(rf'{kind}_(\d+)', p.stem), p) for p in folder.glob('samples/*.png'))
  return {int(match[1]): path for match, path in matches if match}


def _some(*pictures: Picture | None) -> list[Picture]:
  return [picture for picture in pictures if picture]


def _picture(path: Path, caption: str) -> Picture | None:
  """A PNG as a part of the page, made smaller where it is large; None where it cannot be read."""
  try:
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
      image.load()
      width, height = image.size
      kind, reduced = 'png', len(data) > _INLINE
      if reduced:
        small = image.convert('RGB')
        small.thumbnail((_LARGEST, _LARGEST))
        (width, height), file = small.size, io.BytesIO()
        small.save(file, 'jpeg', quality=88)
        kind, data = 'jpeg', file.getvalue()
  except (OSError, ValueError, SyntaxError):
    return None
  source = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
  return Picture(caption, source, width, height, reduced)
