"""What there is to learn, by name: a game where there is one, else a set of images."""

from pathlib import Path

from gan_jax.config.config import Config
from gan_jax.data import default_data_dir, load_dataset
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.evaluation.tasks.image_task import ImageTask
from gan_jax.evaluation.tasks.synthetic_task import SyntheticTask
from gan_jax.evaluation.tasks.task import CheckpointEvaluation, EvaluationReport, Task
from gan_jax.utils.errors import UserError

__all__ = ['Measurement', 'Report', 'Task', 'open_task']


def load_task(config: Config, cache: Path | None = None, data_dir: str = '') -> Task:
  """The task that a run's settings name, its data read; raises UserError.

  `cache` is a folder for what depends on the data alone; `data_dir` stands before the run's own.
  """
  if config.dataset in SYNTHETIC:
    for name in ('image_size', 'contrast', 'strict'):
      if getattr(config, name):
        raise UserError(f'--{name}: {config.dataset} is a game and has no images; leave it out')
    return SyntheticTask(SYNTHETIC[config.dataset])
  where = data_dir or config.data_dir or default_data_dir()
  dataset = load_dataset(config.dataset, where, image_size=config.image_size, strict=config.strict)
  return ImageTask(dataset, cache, config.contrast)
