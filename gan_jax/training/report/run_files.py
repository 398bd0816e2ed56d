"""Reads the JSON files of a run folder, passing over what is missing or damaged."""

import json
import re
from pathlib import Path
from typing import Any

from gan_jax.training.report.number_format import is_number

Values = dict[str, Any]


def read_json(path: Path) -> Values:
  """Reads a JSON object; returns {} for a missing or damaged file."""
  try:
    values = json.loads(path.read_text())
  except (OSError, ValueError, RecursionError):
    return {}
  return values if isinstance(values, dict) else {}


def read_evaluations(folder: Path) -> list[tuple[str, Values]]:
  """Reads each evaluation_SPLIT_STEP.json as (title, values), the latest step first, test before validation."""
  evaluations = []
  for path in folder.glob('evaluation_*_*.json'):
    match, values = re.fullmatch(r'evaluation_(\w+)_(\d+)', path.stem), read_json(path)
    if match and values:
      evaluations.append((-int(match[2]), match[1], values))
  evaluations.sort(key=lambda x: x[:2])
  return [(f'step {-step:,}, {split} split', values) for step, split, values in evaluations]


def read_flags(config: Values) -> Values:
  """Returns the flags of a config.json, without values that no flag can have."""
  flags = config.get('flags')
  given = flags.items() if isinstance(flags, dict) else ()
  return {name: x for name, x in given if isinstance(x, str | bool) or x is None or is_number(x)}
