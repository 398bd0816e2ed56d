"""What there is to learn, by name: a game where there is one, else a set of images."""

from pathlib import Path

from gan_jax.config import Config
from gan_jax.data import default_data_dir, load
from gan_jax.errors import UserError
from gan_jax.games import GAMES
from gan_jax.tasks.games import GameTask
from gan_jax.tasks.images import ImageTask
from gan_jax.tasks.task import Measurement, Report, Task

__all__ = ['Measurement', 'Report', 'Task', 'open_task']


def open_task(config: Config, cache: Path | None = None, data_dir: str = '') -> Task:
  """The task that a run's settings name, its data read; raises UserError.

  `cache` is a folder for what depends on the data alone; `data_dir` stands before the run's own.
  """
  if config.dataset in GAMES:
    for name in ('image_size', 'contrast', 'strict'):
      if getattr(config, name):
        raise UserError(f'--{name}: {config.dataset} is a game and has no images; leave it out')
    return GameTask(GAMES[config.dataset])
  where = data_dir or config.data_dir or default_data_dir()
  dataset = load(config.dataset, where, image_size=config.image_size, strict=config.strict)
  return ImageTask(dataset, cache, config.contrast)
