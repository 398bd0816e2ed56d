"""Runs a PostgreSQL server on localhost in a temporary folder; installs it by apt-get if missing."""

import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile

import pytest

_INSTALL = (
  ('apt-get', 'update'),
  ('apt-get', 'install', '-y', '--no-install-recommends', 'postgresql'),
)


def binaries():
  """Returns the folder of initdb and postgres; installs Debian's package as root, else skips the test."""
  folder = _find_binaries()
  if folder is None and os.geteuid() == 0 and shutil.which('apt-get'):
    for command in _INSTALL:
      subprocess.run(
        command, env=os.environ | {'DEBIAN_FRONTEND': 'noninteractive'}, check=False, timeout=600
      )
    folder = _find_binaries()
  if folder is None:
    pytest.skip('PostgreSQL is missing and cannot be installed: apt-get install postgresql')
  return folder


def _find_binaries():
  for path in (shutil.which('initdb'), *pathlib.Path('/usr/lib/postgresql').glob('*/bin/initdb')):
    if path:
      return pathlib.Path(path).parent
  return None


class Server:
  """Starts and stops a database server, as user postgres where the test runs as root."""

  def __init__(self, folder):
    self._bin, self._data = binaries(), pathlib.Path(folder) / 'data'
    self._data.mkdir()
    self._user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
      owner = pwd.getpwnam('postgres')
      self._user = {'user': owner.pw_uid, 'group': owner.pw_gid, 'extra_groups': []}
      self._data.parent.chmod(0o755)
      os.chown(self._data, owner.pw_uid, owner.pw_gid)
    with socket.socket() as free:
      free.bind(('127.0.0.1', 0))
      self.port = free.getsockname()[1]
    self._run('initdb', '-D', self._data, '-U', 'me', '--auth=trust', '--no-sync')
    self.url = f'postgresql://me@127.0.0.1:{self.port}/postgres'

  def _run(self, name, *args):
    command = [self._bin / name, *map(str, args)]
    subprocess.run(
      command, check=True, timeout=120, stdout=subprocess.DEVNULL, cwd='/', **self._user
    )

  def start(self):
    """Starts the server and waits until it accepts connections."""
    options = f'-h 127.0.0.1 -p {self.port} -k {self._data} -c fsync=off'
    self._run('pg_ctl', '-D', self._data, '-l', self._data / 'log', '-o', options, '-w', 'start')

  def stop(self):
    """Stops the server at once and cuts all connections."""
    self._run('pg_ctl', '-D', self._data, '-m', 'immediate', '-w', 'stop')


@contextlib.contextmanager
def running():
  """Yields a running server."""
  # Outside of pytest's folder, which other users cannot read.
  with tempfile.TemporaryDirectory() as folder:
    server = Server(folder)
    server.start()
    try:
      yield server
    finally:
      with contextlib.suppress(subprocess.SubprocessError):
        server.stop()
