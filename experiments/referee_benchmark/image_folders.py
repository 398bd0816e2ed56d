"""Writes the folders of few images that some real runs train on."""

import contextlib
from pathlib import Path

import numpy as np
import PIL.Image

from gan_jax.data import load_dataset

# Folder, the data set of whose training images it holds a random part, and their number.
PARTS = {'digits_1000': ('mnist', 1000), 'clothes_3000': ('fashion_mnist', 3000)}
EMOJI = 'emoji'
# The pictures are by Twitter (CC-BY 4.0), the package is MIT; 3,786 PNG files of 64 x 64 pixels.
EMOJI_PACKAGE = 'emoji-datasource-twitter@16.0.0'
_EMOJI_PATH = 'package/img/twitter/64'


def write_missing_folders(folder: Path, data_dir: str) -> list[str]:
  """Writes the folders of `PARTS` that are missing below `folder`; returns the names of those still missing.

  Images are in a subfolder for each class. The emoji come from npm: see `explain_emoji`.
  """
  for name, (dataset, n) in PARTS.items():
    if not (folder / name).exists():
      _write_part(folder / name, dataset, n, data_dir)
  return [] if (folder / EMOJI).is_dir() else [EMOJI]


def _write_part(folder: Path, name: str, n: int, data_dir: str) -> None:
  dataset = load_dataset(name, data_dir)
  assert dataset.train_labels is not None
  unfinished = folder.with_name(f'{folder.name}.unfinished')
  for i in np.random.default_rng(0).permutation(len(dataset.train))[:n]:
    path = unfinished / str(dataset.train_labels[i]) / f'{i:05d}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(dataset.train[i, :, :, 0]).save(path)
  with contextlib.suppress(FileExistsError):
    unfinished.rename(folder)


def explain_emoji(folder: Path) -> str:
  """Returns how to get the emoji pictures, as one line."""
  archive = EMOJI_PACKAGE.replace('@', '-')
  return (
    f'no emoji: npm pack {EMOJI_PACKAGE} && mkdir -p {folder / EMOJI} && tar xzf {archive}.tgz '
    f'-C {folder / EMOJI} --strip-components=4 {_EMOJI_PATH}'
  )
