"""Reads and checks config.json, the description of a run: its settings, its data and what it ran on."""

import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.config import resume_compatibility
from gan_jax.config.run_config import Config
from gan_jax.utils.errors import UserError

FILE = 'config.json'
_MAX_BYTES = 16 * 2**20  # of the file, which has some kilobytes
_MAX_VALUES = 2**26  # of one example
_MAX_CLASSES = 2**20
_MAX_REASON = 300  # characters of an error
_BUCKET = re.compile(r'[a-z][a-z0-9+.-]+:/')  # gs://, which a Path makes gs:/


class RunDescription(NamedTuple):
  """Holds the content of a config.json."""

  config: Config
  shape: tuple[int, ...]  # of one example
  n_classes: int  # 0 without labels
  fingerprint: str | None  # SHA-256 of the data
  class_names: tuple[str, ...]  # () where the data bring none, or an older version wrote the file
  class_counts: tuple[int, ...]  # of training examples; () where they are not known
  values: dict[str, Any]  # the whole file


def has_description(folder: Path) -> bool:
  """Returns whether the folder holds a run: a config.json, be it damaged or not."""
  return (folder / FILE).exists()


def read_description(folder: Path) -> RunDescription:
  """Reads the config.json of a run; raises UserError where there is none, or one that cannot be used.

  Settings that an older version did not have get their defaults.
  """
  refuse_bucket(folder)
  values = _read_values(folder)
  flags = values['flags']
  try:
    config = resume_compatibility.config_from_json(flags)
  except UserError as error:
    reason = ' '.join(str(error).split())
    reason = reason if len(reason) <= _MAX_REASON else f'{reason[:_MAX_REASON]}...'
    raise UserError(
      f'--run={folder}: config.json: {reason}; open the run with the version that wrote it{_writer(values)}, '
      'or restore the file'
    ) from None
  shape = tuple(values['shape'])
  names, counts = (tuple(values.get(name, ())) for name in ('class_names', 'class_counts'))
  return RunDescription(
    config, shape, values['n_classes'], values.get('data'), names, counts, values
  )


def print_defaults(folder: Path, run: RunDescription) -> None:
  """Prints a line on stderr with the settings that config.json lacks, where it is of an older version."""
  missing = resume_compatibility.missing_settings(run.values['flags'])
  if missing:
    shown = ', '.join(f'--{name}={getattr(run.config, name)}' for name in missing[:5])
    more = f' and {len(missing) - 5} more' if len(missing) > 5 else ''
    line = f'note: {folder}: config.json is of an older version; by default {shown}{more}'
    print(line, file=sys.stderr, flush=True)


def refuse_bucket(folder: Path) -> None:
  """Raises UserError for the address of a bucket, which is no folder: runs lock and replace files."""
  if _BUCKET.match(str(folder)):
    address = re.sub(r'^([^/]+:)/+', r'\1//', str(folder))
    raise UserError(
      f'--run={address}: a run needs a folder; mount the bucket (gcsfuse, s3fs or rclone mount) and name the '
      'folder in it'
    )


def _writer(values: dict[str, Any]) -> str:
  """Returns the version and commit that last trained the run, in brackets; '' where they are not recorded."""
  ran_on = values.get('ran_on')
  last = ran_on[-1] if ran_on else None
  if not isinstance(last, dict):
    return ''
  versions = last.get('versions')
  version = versions.get('gan-jax') if isinstance(versions, dict) else None
  parts = {'gan-jax': version, 'commit': last.get('commit')}
  named = [f'{name} {x[:40]}' for name, x in parts.items() if isinstance(x, str)]
  return f' ({", ".join(named)})' if named else ''


def _read_values(folder: Path) -> dict[str, Any]:
  """Returns config.json as a dictionary whose entries have the right types; raises UserError."""
  path = folder / FILE
  try:
    with path.open('rb') as file:
      text = file.read(_MAX_BYTES + 1)
    values = json.loads(text) if len(text) <= _MAX_BYTES else None
  except (FileNotFoundError, NotADirectoryError):
    raise UserError(f'--run={folder}: there is no run here (no config.json)') from None
  except OSError as error:
    raise UserError(f'--run={folder}: config.json cannot be read ({error.strerror})') from None
  except (ValueError, RecursionError):
    values = None
  if isinstance(values, dict) and _is_description(values):
    return values
  raise UserError(f'--run={folder}: its config.json is damaged; restore it, or start anew')


def _is_description(values: dict[str, Any]) -> bool:
  """Returns whether an object of JSON has the form of a run's description."""
  shape, n_classes = values.get('shape'), values.get('n_classes')
  return (
    isinstance(values.get('flags'), dict)
    and isinstance(shape, list)
    and 1 <= len(shape) <= 3
    and all(type(side) is int and side > 0 for side in shape)
    and math.prod(shape) <= _MAX_VALUES
    and type(n_classes) is int
    and 0 <= n_classes <= _MAX_CLASSES
    and isinstance(values.get('data'), str | None)
    and isinstance(values.get('ran_on', []), list)
    and _is_list(values.get('class_names', []), n_classes, lambda x: type(x) is str)
    and _is_list(values.get('class_counts', []), n_classes, lambda x: type(x) is int and x >= 0)
    and _is_fork(values.get('forked_from'))
  )


def _is_list(values: Any, n: int, is_valid: Callable[[Any], bool]) -> bool:
  """Returns whether a value of JSON is an empty list, or one of n valid values."""
  return isinstance(values, list) and len(values) in (0, n) and all(map(is_valid, values))


def _is_fork(record: Any) -> bool:
  """Returns whether a value of JSON is None, or the record of the checkpoint from which a run began."""
  if record is None:
    return True
  kinds = {'run': str, 'step': int, 'sha256': str}
  return isinstance(record, dict) and {x: type(record.get(x)) for x in kinds} == kinds
