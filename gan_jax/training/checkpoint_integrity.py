"""Verifies checkpoints by checksums, and moves damaged ones aside.

`checksums.json` in a run directory holds size and sha256 of every file of every complete checkpoint.
"""

import hashlib
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from gan_jax.utils.files import write_atomically

FILE = 'checksums.json'
_UNFINISHED = '.orbax-checkpoint-tmp'
_STEP_NAME = re.compile(r'[0-9]{8}|[1-9][0-9]{8,9}')  # as `checkpoint_path` writes a step
_DIGEST = re.compile(r'[0-9a-f]{64}')
_MAX_NAME = 1000  # characters of a path within a checkpoint, which has less than a hundred
_Checksums = dict[str, list[int | str]]  # path within the checkpoint -> size in bytes, sha256


def record_checksums(folder: Path) -> None:
  """Records the checksums of the checkpoint that is about to be complete; forgets deleted checkpoints.

  The checkpoint is still in a temporary folder, which Orbax renames next: no complete checkpoint is without
  checksums.
  """
  known, checkpoints = _read(folder), folder / 'checkpoints'
  kept = {step: sums for step, sums in known.items() if checkpoint_path(folder, step).is_dir()}
  for step in complete_steps(folder):
    kept.setdefault(step, _sums(checkpoint_path(folder, step)))
  for unfinished in checkpoints.glob(f'*{_UNFINISHED}'):
    unfinished_step = _step_of(unfinished.name.removesuffix(_UNFINISHED))
    if unfinished_step is not None:
      kept[unfinished_step] = _sums(unfinished)
  _write(folder, kept)


def find_damage(folder: Path, step: int) -> str | None:
  """Describes the damage of a checkpoint; returns None for an intact one, or for a run without checksums."""
  known = _read(folder)
  if not known:
    return None
  where = checkpoint_path(folder, step)
  if not where.is_dir():
    return 'it is gone, or was not written to its end'
  if step not in known:
    return 'it has no checksums'
  for name, (size, digest) in known[step].items():
    file = where / name
    if not file.is_file():
      return f'{name} is missing'
    try:
      if file.stat().st_size != size:
        return f'{name} has {file.stat().st_size} bytes and not {size}'
      if _digest(file) != digest:
        return f'the checksum of {name} is wrong'
    except OSError as error:
      return f'{name} cannot be read ({error.strerror})'
  return None


def checkpoint_digest(folder: Path, step: int) -> str:
  """Returns a SHA-256 of the names, sizes and contents of the files of a checkpoint."""
  sums = _read(folder).get(step) or _sums(checkpoint_path(folder, step))
  return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def quarantine_damaged(folder: Path) -> list[str]:
  """Moves damaged checkpoints that are newer than every intact one to `damaged/`; returns a line for each.

  Training then goes on from the newest intact checkpoint, and writes the same steps again.
  """
  lines, known = [], _read(folder)
  for step in sorted(complete_steps(folder) | set(known), reverse=True):
    damage = find_damage(folder, step)
    if damage is None:
      break
    source = checkpoint_path(folder, step)
    if source.is_dir():
      aside = folder / 'damaged' / source.name
      aside.parent.mkdir(exist_ok=True)
      while aside.exists():
        aside = aside.with_name(f'{aside.name}.again')
      source.rename(aside)
      damage += f' (moved to {aside})'
    lines.append(f'{source}: this checkpoint is damaged: {damage}')
    known.pop(step, None)
  if lines:
    _write(folder, known)
  return lines


def checkpoint_path(folder: Path, step: int) -> Path:
  """Returns the path of a checkpoint of the run in `folder`."""
  return folder / 'checkpoints' / f'{step:08d}'


def complete_steps(folder: Path) -> set[int]:
  """Returns the steps of the complete checkpoints of the run in `folder`; passes over other files."""
  steps = (_step_of(x.name) for x in (folder / 'checkpoints').glob('*') if x.is_dir())
  return {step for step in steps if step is not None}


def _step_of(name: str) -> int | None:
  """Returns the step of a folder that is named like a checkpoint; None for any other name."""
  return int(name) if _STEP_NAME.fullmatch(name) else None


def _write(folder: Path, checksums: dict[int, _Checksums]) -> None:
  lines = ',\n'.join(f'"{step}": {json.dumps(checksums[step])}' for step in sorted(checksums))
  write_atomically(folder / FILE, f'{{\n{lines}\n}}\n'.encode())


def _read(folder: Path) -> dict[int, _Checksums]:
  """Reads the recorded checksums; {} where there are none, or the file itself is damaged."""
  try:
    steps = json.loads((folder / FILE).read_bytes())
  except (OSError, ValueError, RecursionError):
    return {}
  if not isinstance(steps, dict) or not all(map(_are_checksums, steps, steps.values())):
    return {}
  return {int(step): sums for step, sums in steps.items()}


def _are_checksums(step: str, sums: Any) -> bool:
  """Returns whether an entry of the file has the form of a checkpoint's checksums, with paths inside it."""
  if not (step.isascii() and step.isdecimal() and len(step) <= 10 and isinstance(sums, dict)):
    return False
  return all(
    _is_inside(name)
    and isinstance(x, list)
    and [type(part) for part in x] == [int, str]
    and _DIGEST.fullmatch(x[1])
    for name, x in sums.items()
  )


def _is_inside(name: str) -> bool:
  """Returns whether a path is relative, without a step upwards, and no longer than paths are."""
  path = PurePosixPath(name)
  inside = not path.is_absolute() and '..' not in path.parts and '\0' not in name
  return inside and 0 < len(name) <= _MAX_NAME and max(map(len, path.parts), default=0) <= 255


def _sums(folder: Path) -> _Checksums:
  # Files at the top describe the folder, and are written again when it is renamed.
  # Hidden files are no part of a checkpoint: tools write them, and take them away again.
  hidden = lambda path: any(part.startswith('.') for part in path.relative_to(folder).parts)
  files = sorted(x for x in folder.glob('*/**/*') if x.is_file() and not hidden(x))
  return {str(x.relative_to(folder)): [x.stat().st_size, _digest(x)] for x in files}


def _digest(path: Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
