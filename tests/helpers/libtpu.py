"""The compiler of TPUs, for tests that have none."""

import importlib.metadata
import re
import subprocess
import sys


def install(folder):
  """Put the libtpu that this jax wants into a folder: in the environment jax would look for a TPU."""
  wanted = next(
    re.split(r'\s*;', requirement)[0]
    for requirement in importlib.metadata.requires('jax')
    if requirement.startswith('libtpu') and 'extra == "tpu"' in requirement.replace("'", '"')
  )
  pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', f'--target={folder}']
  subprocess.run([*pip, wanted], check=True)
