"""Checksums of a run's checkpoints: what is damaged is noticed, named, and never trained on.

`checksums.json` in the run's folder holds size and sha256 of every file of every complete checkpoint.
"""

import hashlib
import json
from pathlib import Path

from gan_jax.utils.files import write_atomically

FILE = 'checksums.json'
_UNFINISHED = '.orbax-checkpoint-tmp'
_Seal = dict[str, list[int | str]]  # path within the checkpoint -> size in bytes, sha256


def write(folder: Path) -> None:
  """Seal the checkpoint of a run that is about to become complete, and forget those that are gone.

  It lies in a temporary folder, which Orbax renames next: no complete checkpoint is without a seal.
  """
  known, checkpoints = _read(folder), folder / 'checkpoints'
  kept = {step: seal for step, seal in known.items() if path(folder, step).is_dir()}
  for step in complete(folder):
    kept.setdefault(step, _sums(path(folder, step)))
  for unfinished in checkpoints.glob(f'*{_UNFINISHED}'):
    kept[int(unfinished.name.removesuffix(_UNFINISHED))] = _sums(unfinished)
  _write(folder, kept)


def problem(folder: Path, step: int) -> str | None:
  """What is wrong with a checkpoint, in words; None where it is as it was written.

  Runs of a time before there were checksums have none, and nothing can be said of them.
  """
  known = _read(folder)
  if not known:
    return None
  where = path(folder, step)
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


def set_aside(folder: Path) -> list[str]:
  """Move damaged checkpoints that are newer than every good one out of the way; says which, and why.

  They go to `damaged/` in the run's folder, since new ones of the same steps will be written.
  """
  told, known = [], _read(folder)
  for step in sorted(complete(folder) | set(known), reverse=True):
    wrong = problem(folder, step)
    if wrong is None:
      break
    place = path(folder, step)
    if place.is_dir():
      aside = folder / 'damaged' / place.name
      aside.parent.mkdir(exist_ok=True)
      while aside.exists():
        aside = aside.with_name(f'{aside.name}.again')
      place.rename(aside)
      wrong += f' (moved to {aside})'
    told.append(f'{place}: this checkpoint is damaged: {wrong}')
    known.pop(step, None)
  if told:
    _write(folder, known)
  return told


def path(folder: Path, step: int) -> Path:
  """Where Orbax keeps a checkpoint of the run in `folder`."""
  return folder / 'checkpoints' / f'{step:08d}'


def complete(folder: Path) -> set[int]:
  """Steps of the checkpoints of the run in `folder` that were written to their ends."""
  return {int(x.name) for x in (folder / 'checkpoints').glob('*') if x.name.isdecimal()}


def _write(folder: Path, seals: dict[int, _Seal]) -> None:
  lines = ',\n'.join(f'"{step}": {json.dumps(seals[step])}' for step in sorted(seals))
  write_atomically(folder / FILE, f'{{\n{lines}\n}}\n'.encode())


def _read(folder: Path) -> dict[int, _Seal]:
  """The known seals; {} where there are none, or where the file itself was damaged."""
  try:
    return {int(step): dict(seal) for step, seal in json.loads((folder / FILE).read_text()).items()}
  except (OSError, ValueError, AttributeError, TypeError):
    return {}


def _sums(folder: Path) -> _Seal:
  # What lies at the top is about the folder, and is written anew when it is renamed.
  files = sorted(x for x in folder.glob('*/**/*') if x.is_file())
  return {str(x.relative_to(folder)): [x.stat().st_size, _digest(x)] for x in files}


def _digest(path: Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
