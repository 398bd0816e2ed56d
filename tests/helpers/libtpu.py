"""Installs the TPU compiler for tests on machines without a TPU."""

import importlib.metadata
import re
import subprocess
import sys


def install(folder):
  """Installs the libtpu version of this jax into a folder, not into the environment, where jax would use it."""
  wanted = next(
    re.split(r'\s*;', requirement)[0]
    for requirement in importlib.metadata.requires('jax')
    if requirement.startswith('libtpu') and 'extra == "tpu"' in requirement.replace("'", '"')
  )
  pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', f'--target={folder}']
  subprocess.run([*pip, wanted], check=True)
