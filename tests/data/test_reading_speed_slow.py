"""Tests that preparing images costs little more time than decoding them, and little memory."""

import subprocess
import sys
import time

import pytest

from experiments import bench_reading

N = 10_000


@pytest.fixture(scope='module')
def images(tmp_path_factory):
  """Returns a folder with the images as files, in a .zip and in two .tar shards."""
  root = tmp_path_factory.mktemp('images')
  bench_reading.write_images(root, N, 32, 'PNG')
  return root


def processor_seconds(run):
  start = time.process_time()  # of all threads; other processes on the machine do not count
  run()
  return time.process_time() - start


@pytest.mark.slow
@pytest.mark.parametrize('name', ['folder', 'images.zip', 'shards'])
def test_preparing_takes_at_most_ten_sevenths_of_the_time_of_pillow_alone(images, name):
  files = sorted((images / 'folder').iterdir())
  rounds = [
    (
      processor_seconds(lambda: bench_reading.decode_all(files)),
      processor_seconds(lambda: bench_reading.prepare(images / name, images)),
    )
    for _ in range(4)
  ]
  pillow, prepared = (min(seconds) for seconds in zip(*rounds, strict=True))
  assert pillow / prepared > 0.7


LIMITED = """
import re, resource, sys
from pathlib import Path
from gan_jax import data
used = 1024 * int(re.search(r'VmData:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[3]), resource.RLIM_INFINITY))
print(data.load_dataset(sys.argv[1], sys.argv[2]).train.nbytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(
  sys.platform != 'linux', reason='RLIMIT_DATA counts mapped memory on Linux only'
)
@pytest.mark.parametrize('name', ['folder', 'images.zip', 'shards'])
def test_images_that_exceed_the_memory_are_prepared(tmp_path, name):
  bench_reading.write_images(tmp_path, 700, 512, 'PNG')
  limit = 2**28  # bytes, of 550 million that the decoded images take
  command = [
    sys.executable,
    '-c',
    LIMITED,
    str(tmp_path / name),
    str(tmp_path / 'data'),
    str(limit),
  ]
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert int(done.stdout) > 1.5 * limit
