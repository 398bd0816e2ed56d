"""Creates, checks, describes and locks the directory of a run."""

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

from gan_jax.config import resume_compatibility
from gan_jax.config.run_config import Config
from gan_jax.distributed.processes import ProcessGroup
from gan_jax.evaluation.tasks import Task
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

_VERSIONS = (
  *('gan-jax', 'jax', 'jaxlib', 'flax'),
  *('optax', 'orbax-checkpoint', 'tensorflow-datasets', 'numpy'),
)


def create_run_directory(folder: Path) -> None:
  """Creates the directory of a run; raises UserError where it cannot be created or written."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    reason = error.strerror
    raise UserError(
      f'--run={folder}: this folder cannot be made ({reason}); choose another'
    ) from None
  if not os.access(folder, os.W_OK):
    raise UserError(f'--run={folder}: this folder cannot be written; choose another')


def check_resumable(folder: Path, config: Config) -> None:
  """Raises UserError where the directory holds no run, or a run whose flags forbid to go on with `config`."""
  if (folder / 'config.json').exists():
    changed = resume_compatibility.blocking_differences(_read_description(folder)['flags'], config)
    if changed:
      raise UserError(
        f'--run={folder}: this run was made with other flags ({"; ".join(changed)}); '
        'give the same flags to go on, or another --run to start anew'
      )
  elif not all(_is_leftover(child) for child in folder.iterdir()):
    raise UserError(f'--run={folder}: this folder is not empty and holds no run; choose another')


def _is_leftover(child: Path) -> bool:
  """Returns whether a process that ended before it wrote config.json may have left this file."""
  if child.name == 'checkpoints':
    return child.is_dir() and not any(child.iterdir())
  return child.name == 'lock' or child.name[0] == '.'


def write_description(folder: Path, config: Config, task: Task, devices: str) -> None:
  """Writes config.json: flags, data, and versions, platform and `devices` of each process that trained it.

  Raises UserError where the run was begun on other data.
  """
  fingerprint = task.fingerprint
  old = _read_description(folder) if (folder / 'config.json').exists() else {}
  if old.get('data', fingerprint) != fingerprint:
    raise UserError(
      f'--run={folder}: this run was begun on other data of the name {config.dataset} '
      f'(sha256 {old["data"][:12]}, now {fingerprint[:12]}); give their --data_dir, or another --run'
    )
  environment = {
    'versions': package_versions(),
    'python': platform.python_version(),
    'platform': platform.platform(),
    'devices': devices,
    'commit': source_commit(),
  }
  earlier = old.get('ran_on', [])
  description = {
    'flags': dataclasses.asdict(config),
    'data': fingerprint,
    'shape': task.shape,
    'n_classes': task.n_classes,
    'ran_on': earlier if earlier[-1:] == [environment] else [*earlier, environment],
  }
  write_atomically(folder / 'config.json', (json.dumps(description, indent=2) + '\n').encode())


def package_versions() -> dict[str, str]:
  """Returns the versions of the packages on which the numbers of a run depend, by name."""
  return {name: importlib.metadata.version(name) for name in _VERSIONS}


def source_commit() -> str | None:
  """Returns the git commit of the source tree, with '-dirty' where files differ; None outside a checkout."""
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


def _read_description(folder: Path) -> dict[str, Any]:
  path = folder / 'config.json'
  try:
    description = json.loads(path.read_text())
    description['flags'].keys(), description['shape'][0], description['n_classes'] + 0
  except FileNotFoundError:
    raise UserError(f'--run={folder}: there is no run here (no config.json)') from None
  except (ValueError, TypeError, KeyError, AttributeError, IndexError):
    raise _damaged(folder) from None
  return description


def _damaged(folder: Path) -> UserError:
  return UserError(f'--run={folder}: its config.json is damaged; restore it, or start anew')


def read_config(folder: Path) -> Config:
  """Reads the settings of a run; raises UserError where there is no run, or config.json is damaged."""
  try:
    return resume_compatibility.config_from_json(_read_description(folder)['flags'])
  except UserError as error:
    line = str(error).replace('config.json:', f'--run={folder}: config.json:', 1)
    raise UserError(line) from None
  except TypeError:  # a setting of the wrong type
    raise _damaged(folder) from None


def read_shape(folder: Path) -> tuple[tuple[int, ...], int]:
  """Reads the shape of one example of a run and the number of classes; raises UserError without a run."""
  description = _read_description(folder)
  return tuple(description['shape']), description['n_classes']


class RunLockedError(UserError):
  """Reports that another process writes to the directory at this moment."""


@contextlib.contextmanager
def lock_run_directory(folder: Path) -> Iterator[None]:
  """Holds the lock of a run directory; raises RunLockedError where another process holds it."""
  with (folder / 'lock').open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise RunLockedError(
        f'--run={folder}: another process is training this run; wait for it, or choose another --run'
      ) from None
    except OSError:
      pass  # a file system without locks
    # Temporary files of `write_atomically` in a process that was killed.
    for leftover in (*folder.glob('.*'), *folder.glob('samples/.*')):
      leftover.unlink()
    yield


def check_shared_filesystem(folder: Path, group: ProcessGroup) -> None:
  """Raises UserError in every process where one of them does not see the directory that process 0 created."""
  token = group.broadcast_from_first(lambda: secrets.token_hex(8))
  path = folder / f'.shared-{token}'
  group.run_on_first(path.touch)

  def require_token() -> None:
    if not path.exists():
      raise UserError(
        f'--run={folder}: {platform.node()} does not see the folder that process 0 made; '
        'choose one that all hosts share'
      )

  try:
    group.run_on_all(require_token)
  finally:
    if group.is_first:
      path.unlink(missing_ok=True)
