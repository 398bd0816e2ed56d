"""Creates, checks, describes and locks the directory of a run."""

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gan_jax.config import resume_compatibility
from gan_jax.config.run_config import Config
from gan_jax.distributed.processes import ProcessGroup
from gan_jax.evaluation.tasks import Task
from gan_jax.training import run_description
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import is_temporary, temporary_path, write_atomically

_VERSIONS = (
  *('gan-jax', 'jax', 'jaxlib', 'flax'),
  *('optax', 'orbax-checkpoint', 'tensorflow-datasets', 'numpy'),
)
_BYSTANDER = re.compile(
  r'(readme|notes?|todo|license|changelog)(\.\w+)?|.*\.(md|txt|rst|org)|thumbs\.db|desktop\.ini|icon\r'
  r'|__macosx|lost\+found|.*~|#.*#',
  re.IGNORECASE,
)


def create_run_directory(folder: Path) -> None:
  """Creates the directory of a run; raises UserError where it cannot be created or written."""
  run_description.refuse_bucket(folder)
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
  if run_description.has_description(folder):
    old = run_description.read_description(folder)
    changed = resume_compatibility.blocking_differences(old.values['flags'], config)
    if changed:
      raise UserError(
        f'--run={folder}: this run was made with other flags ({"; ".join(changed)}); '
        'give the same flags to go on, or another --run to start anew'
      )
    run_description.print_defaults(folder, old)
  elif not all(_is_leftover(child) or is_bystander(child) for child in folder.iterdir()):
    raise UserError(f'--run={folder}: this folder is not empty and holds no run; choose another')


def _is_leftover(child: Path) -> bool:
  """Returns whether a process that ended before it wrote config.json may have left this file."""
  if child.name == 'checkpoints':
    return child.is_dir() and all(map(is_bystander, child.iterdir()))
  return child.name == 'lock'


def is_bystander(path: Path) -> bool:
  """Returns whether this file belongs to a user or a tool, as notes, hidden files and folder thumbnails do.

  Runs and sweeps neither delete such files nor take them for another run.
  """
  return bool(_BYSTANDER.fullmatch(path.name)) or (path.name[0] == '.' and not is_temporary(path))


def delete_files_of_run(folder: Path) -> None:
  """Deletes what training wrote into a run's folder, and leaves everything else there."""
  for name in ('config.json', 'metrics.jsonl', 'checksums.json', 'report.html', 'curves.png'):
    (folder / name).unlink(missing_ok=True)
  for checkpoint in (folder / 'checkpoints').glob('[0-9]*'):
    shutil.rmtree(checkpoint, ignore_errors=True)
  for events in folder.glob('events.*'):
    events.unlink()


def write_description(
  folder: Path, config: Config, task: Task, devices: str, fork: dict[str, Any] | None = None
) -> None:
  """Writes config.json: flags, data, and versions, platform and `devices` of each process that trained it.

  `fork` is the record of the checkpoint from which the run begins, if any; the first one stays. Raises
  UserError where the run was begun on other data.
  """
  fingerprint, old = task.fingerprint, dict[str, Any]()
  if run_description.has_description(folder):
    begun = run_description.read_description(folder)
    old = begun.values
    if begun.fingerprint not in (None, fingerprint):
      raise UserError(
        f'--run={folder}: this run was begun on other data (sha256 {begun.fingerprint[:12]}, and '
        f'--dataset={config.dataset} is {fingerprint[:12]}); give their --dataset and --data_dir, or another '
        '--run'
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
    'class_names': task.class_names,
    'class_counts': task.class_counts,
    'ran_on': earlier if earlier[-1:] == [environment] else [*earlier, environment],
  }
  if fork is not None or 'forked_from' in old:
    description['forked_from'] = old.get('forked_from', fork)
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


def read_config(folder: Path) -> Config:
  """Reads the settings of a run; raises UserError where there is no run, or config.json is damaged."""
  return run_description.read_description(folder).config


def read_fork(folder: Path) -> dict[str, Any] | None:
  """Reads the record of the checkpoint from which a run began; None without one, or without a run."""
  if not run_description.has_description(folder):
    return None
  return run_description.read_description(folder).values.get('forked_from')


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
    # Temporary files of `write_atomically` in a process that was killed; all others are somebody's.
    for leftover in (*folder.glob('.*'), *folder.glob('samples/.*')):
      if is_temporary(leftover) and leftover.is_file():
        leftover.unlink(missing_ok=True)
    yield


def check_shared_filesystem(folder: Path, group: ProcessGroup) -> None:
  """Raises UserError in every process where one of them does not see the directory that process 0 created."""
  # Its name holds the number of process 0, which the others do not know.
  make_name = lambda: temporary_path(folder / f'shared-{secrets.token_hex(8)}').name
  path = folder / group.broadcast_from_first(make_name)
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
