"""A run's folder: what it is called, what is in it, and who may write to it."""

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import os
import platform
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gan_jax.config import compatibility
from gan_jax.config.config import Config
from gan_jax.distributed.processes import ProcessGroup
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

_VERSIONS = (
  'gan-jax',
  'jax',
  'jaxlib',
  'flax',
  'optax',
  'orbax-checkpoint',
  'tensorflow-datasets',
  'numpy',
)


def make(folder: Path) -> None:
  """Make a run's folder; raises UserError where it cannot be made or written."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f'--run={folder}: this folder cannot be made ({error.strerror}); choose another'
    ) from None
  if not os.access(folder, os.W_OK):
    raise UserError(f'--run={folder}: this folder cannot be written; choose another')


def check(folder: Path, config: Config) -> None:
  """Raise UserError where the folder holds something else, or a run with other flags (named)."""
  if (folder / 'config.json').exists():
    changed = compatibility.differences(_read(folder)['flags'], config)
    if changed:
      raise UserError(
        f'--run={folder}: this run was made with other flags ({"; ".join(changed)}); '
        'give the same flags to go on, or another --run to start anew'
      )
  elif not all(_begun(child) for child in folder.iterdir()):
    raise UserError(f'--run={folder}: this folder is not empty and holds no run; choose another')


def _begun(child: Path) -> bool:
  """Whether a process that ended before it described its run may have left this."""
  if child.name == 'checkpoints':
    return child.is_dir() and not any(child.iterdir())
  return child.name == 'lock' or child.name[0] == '.'


def describe(
  folder: Path,
  config: Config,
  shape: tuple[int, ...],
  n_classes: int,
  fingerprint: str,
  devices: str,
) -> None:
  """Write config.json: all flags, the data, and on what each process that trained the run ran.

  Raises UserError where the run was begun on other data.
  """
  old = _read(folder) if (folder / 'config.json').exists() else {}
  if old.get('data', fingerprint) != fingerprint:
    raise UserError(
      f'--run={folder}: this run was begun on other data of the name {config.dataset} '
      f'(sha256 {old["data"][:12]}, now {fingerprint[:12]}); give their --data_dir, or another --run'
    )
  here = {
    'versions': versions(),
    'python': platform.python_version(),
    'platform': platform.platform(),
    'devices': devices,
    'commit': commit(),
  }
  before = old.get('ran_on', [])
  description = {
    'flags': dataclasses.asdict(config),
    'data': fingerprint,
    'shape': shape,
    'n_classes': n_classes,
    'ran_on': before if before[-1:] == [here] else [*before, here],
  }
  write_atomically(folder / 'config.json', (json.dumps(description, indent=2) + '\n').encode())


def versions() -> dict[str, str]:
  """The versions of the packages on which the numbers of a run depend."""
  return {name: importlib.metadata.version(name) for name in _VERSIONS}


def commit() -> str | None:
  """The commit of the source tree, with '-dirty' where it was changed; None outside a checkout."""
  try:
    described = subprocess.run(
      ['git', 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'],
      cwd=Path(__file__).parent,
      capture_output=True,
      text=True,
      timeout=10,
      check=True,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return described.stdout.strip()


def _read(folder: Path) -> dict[str, Any]:
  path = folder / 'config.json'
  try:
    description = json.loads(path.read_text())
    description['flags'].keys(), description['shape'][0], description['n_classes'] + 0
  except FileNotFoundError:
    raise UserError(f'--run={folder}: there is no run here (no config.json)') from None
  except (ValueError, TypeError, KeyError, AttributeError, IndexError):
    raise UserError(
      f'--run={folder}: its config.json is damaged; restore it, or start anew'
    ) from None
  return description


def read_config(folder: Path) -> Config:
  """The Config that a run was made with; raises UserError where there is no run."""
  try:
    return compatibility.from_json(_read(folder)['flags'])
  except UserError as error:
    raise UserError(
      str(error).replace('config.json:', f'--run={folder}: config.json:', 1)
    ) from None
  except TypeError:  # a setting of the wrong type
    raise UserError(
      f'--run={folder}: its config.json is damaged; restore it, or start anew'
    ) from None


def read_shape(folder: Path) -> tuple[tuple[int, ...], int]:
  """The shape of an example of a run, and the number of classes; raises UserError where there is no run."""
  description = _read(folder)
  return tuple(description['shape']), description['n_classes']


class HeldError(UserError):
  """Another process writes to the folder at this moment."""


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
  """Hold the folder's lock; raises HeldError where another process trains this run at this moment."""
  with (folder / 'lock').open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise HeldError(
        f'--run={folder}: another process is training this run; wait for it, or choose another --run'
      ) from None
    except OSError:
      pass  # a file system without locks: nothing can be said
    # What `write_atomically` left in a process that was killed.
    for leftover in (*folder.glob('.*'), *folder.glob('samples/.*')):
      leftover.unlink()
    yield


def check_shared(folder: Path, group: ProcessGroup) -> None:
  """Raise UserError, in every process, where one of them does not see the folder that process 0 made."""
  token = group.from_first(lambda: secrets.token_hex(8))
  path = folder / f'.shared-{token}'
  group.together(lambda: path.touch() if group.first else None)

  def look() -> None:
    if not path.exists():
      raise UserError(
        f'--run={folder}: {platform.node()} does not see the folder that process 0 made; '
        'choose one that all hosts share'
      )

  try:
    group.together(look)
  finally:
    if group.first:
      path.unlink(missing_ok=True)
