"""Verifies checkpoints by checksums, and moves damaged ones aside.

`checksums.json` in a run directory holds size and sha256 of every file of every complete checkpoint.
"""

import hashlib
import json
from pathlib import Path

from gan_jax.utils.files import write_atomically

FILE = 'checksums.json'
_UNFINISHED = '.orbax-checkpoint-tmp'
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
    kept[int(unfinished.name.removesuffix(_UNFINISHED))] = _sums(unfinished)
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
    if file.stat().st_size != size:
      return f'{name} has {file.stat().st_size} bytes and not {size}'
    if _digest(file) != digest:
      return f'the checksum of {name} is wrong'
  return None


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
  """Returns the steps of the complete checkpoints of the run in `folder`."""
  return {int(x.name) for x in (folder / 'checkpoints').glob('*') if x.name.isdecimal()}


def _write(folder: Path, checksums: dict[int, _Checksums]) -> None:
  lines = ',\n'.join(f'"{step}": {json.dumps(checksums[step])}' for step in sorted(checksums))
  write_atomically(folder / FILE, f'{{\n{lines}\n}}\n'.encode())


def _read(folder: Path) -> dict[int, _Checksums]:
  """Reads the recorded checksums; {} where there are none, or the file itself is damaged."""
  try:
    return {int(step): dict(sums) for step, sums in json.loads((folder / FILE).read_text()).items()}
  except (OSError, ValueError, AttributeError, TypeError):
    return {}


def _sums(folder: Path) -> _Checksums:
  # Files at the top describe the folder, and are written again when it is renamed.
  files = sorted(x for x in folder.glob('*/**/*') if x.is_file())
  return {str(x.relative_to(folder)): [x.stat().st_size, _digest(x)] for x in files}


def _digest(path: Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
