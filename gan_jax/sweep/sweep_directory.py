"""Writes sweep.json, which describes a sweep, and refuses a directory that holds another one."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from gan_jax.config.run_config import Config
from gan_jax.training import run_directory
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically


def describe_sweep(base: Config, **options: Any) -> dict[str, Any]:
  """Returns what must be equal in two processes of one sweep: its options and the flags of its base run."""
  flags = dataclasses.asdict(base)
  del flags['data_dir']  # may differ between hosts
  return {**options, 'flags': flags}


def open_sweep(folder: Path, description: dict[str, Any]) -> None:
  """Makes the directory of a sweep and writes sweep.json; raises UserError where it holds something else."""
  path = folder / 'sweep.json'
  text = json.dumps(description, indent=2) + '\n'
  if path.exists():
    if path.read_text() != text:
      old = json.loads(path.read_text())
      changed = changed_names(old, description)
      raise UserError(
        f'--run={folder}: this folder holds another sweep (other {changed}); '
        'give the same command to go on, or another --run'
      )
    return
  if folder.exists() and any(child.name[0] != '.' for child in folder.iterdir()):
    raise UserError(f'--run={folder}: this folder is not empty and holds no sweep; choose another')
  run_directory.create_run_directory(folder)
  write_atomically(path, text.encode())


def changed_names(old: dict[str, Any], new: dict[str, Any]) -> str:
  """Returns the names, with commas between, whose values differ in two descriptions of sweeps."""
  return ', '.join(sorted(k for k in {*old, *new} if old.get(k) != new.get(k)))
