"""Times the preparation of many small images beside Pillow alone, which decodes the same files.

  python -m experiments.bench_reading --images=10000

Prints images per second of a folder, a .zip and two .tar shards, and the share of Pillow's speed: the
largest of several rounds each, on all cores. Preparation lists, decodes, hashes, splits and caches.
"""

import concurrent.futures
import io
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
from absl import flags

from gan_jax import data
from gan_jax.data.reader.decode_pool import n_cores

from . import command_line

_IMAGES = flags.DEFINE_integer('images', 10_000, 'Number of images.', 100)
_SIDE = flags.DEFINE_integer('side', 32, 'Pixels a side.', 4)
_ROUNDS = flags.DEFINE_integer('rounds', 4, 'Rounds of each, of which the fastest counts.', 1)
_FORMAT = flags.DEFINE_enum('format', 'PNG', ['PNG', 'JPEG', 'WEBP'], 'Format of the images.')


class _SilentProgress(data.Progress):
  """Drops log lines."""

  def log(self, line: str) -> None:
    """Does nothing."""


def main(argv: list[str]) -> None:
  """Prints the table."""
  del argv
  with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    write_images(root, _IMAGES.value, _SIDE.value, _FORMAT.value)
    files = sorted((root / 'folder').iterdir())
    timed: dict[str, Callable[[], None]] = {'Pillow alone': lambda: decode_all(files)}
    timed |= {
      name: lambda name=name: prepare(root / name, root)  # type: ignore
      for name in ('folder', 'images.zip', 'shards')
    }
    rounds = [{name: _seconds(run) for name, run in timed.items()} for _ in range(_ROUNDS.value)]
  wall, processor = (
    {name: _IMAGES.value / min(each[name][i] for each in rounds) for name in timed} for i in (0, 1)
  )
  print(
    f'{_IMAGES.value:,} {_FORMAT.value} images of {_SIDE.value} pixels a side, {n_cores()} cores'
  )
  print(f'  {"images per second":<20}{"of time":>10}{"":>8}{"of processor time":>20}')
  for name in timed:
    shares = [100 * speeds[name] / speeds['Pillow alone'] for speeds in (wall, processor)]
    print(
      f'  {name:<20}{wall[name]:>10,.0f}{shares[0]:>6.0f} %{processor[name]:>20,.0f}{shares[1]:>6.0f} %'
    )


def write_images(root: Path, n: int, side: int, image_format: str) -> None:
  """Writes n images of coarse noise to a folder, a .zip and two .tar shards below `root`."""
  rng, cells = np.random.default_rng(0), max(1, side // 8)
  (root / 'folder').mkdir()
  (root / 'shards').mkdir()
  with (
    zipfile.ZipFile(root / 'images.zip', 'w') as archive,
    tarfile.open(root / 'shards' / '0.tar', 'w') as first,
    tarfile.open(root / 'shards' / '1.tar', 'w') as second,
  ):
    for i in range(n):
      pixels = rng.integers(0, 256, (side // cells, side // cells, 3), np.uint8)
      file = io.BytesIO()
      PIL.Image.fromarray(pixels.repeat(cells, 0).repeat(cells, 1)).save(file, image_format)
      name = f'{i:07d}.{image_format.lower()}'
      (root / 'folder' / name).write_bytes(file.getvalue())
      archive.writestr(name, file.getvalue())
      member = tarfile.TarInfo(name)
      member.size = len(file.getvalue())
      (first if i < n // 2 else second).addfile(member, io.BytesIO(file.getvalue()))


def decode_all(files: list[Path]) -> None:
  """Decodes files by Pillow in threads on all cores."""
  parts = [files[i : i + 64] for i in range(0, len(files), 64)]
  with concurrent.futures.ThreadPoolExecutor(n_cores()) as threads:
    for _ in threads.map(_decode, parts):
      pass


def _decode(files: list[Path]) -> None:
  for file in files:
    with PIL.Image.open(file) as image:
      np.asarray(image.convert('RGB'))


def prepare(path: Path, root: Path) -> None:
  """Prepares the images of a path in a new folder below `root`."""
  with tempfile.TemporaryDirectory(dir=root) as folder:
    data.load_dataset(str(path), folder, _SilentProgress())


def _seconds(run: Callable[[], None]) -> tuple[float, float]:
  """Returns the time that a call takes, and that of the processor, which others on the machine do not share."""
  wall, processor = time.perf_counter(), time.process_time()
  run()
  return time.perf_counter() - wall, time.process_time() - processor


if __name__ == '__main__':
  command_line.run_script(main)
