"""Loads the task, a data set together with its evaluator, that a run's settings name."""

from pathlib import Path

from gan_jax.config.run_config import Config
from gan_jax.data import default_data_dir, load_dataset
from gan_jax.data.reader import ReadOptions
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.evaluation.tasks.image_task import ImageTask
from gan_jax.evaluation.tasks.synthetic_task import SyntheticTask
from gan_jax.evaluation.tasks.task import CheckpointEvaluation, EvaluationReport, Task
from gan_jax.utils.errors import UserError

__all__ = ['CheckpointEvaluation', 'EvaluationReport', 'Task', 'load_task']


def load_task(
  config: Config, cache: Path | None = None, data_dir: str = '', fingerprint: str | None = None
) -> Task:
  """Returns the task of `config.dataset` with its data read, by default from `config.data_dir`.

  The folder `cache` keeps classifiers and reference scores, which depend on the data alone. `fingerprint` is
  that of the data of a run that goes on. Raises UserError.
  """
  if config.dataset in SYNTHETIC:
    defaults = Config()
    for name in ('image_size', 'contrast', 'strict', *ReadOptions._fields):
      if getattr(config, name) != getattr(defaults, name):
        raise UserError(f'--{name}: {config.dataset} is synthetic and has no images; leave it out')
    return SyntheticTask(SYNTHETIC[config.dataset])
  folder = data_dir or config.data_dir or default_data_dir()
  dataset = load_dataset(
    config.dataset,
    folder,
    image_size=config.image_size,
    strict=config.strict,
    options=ReadOptions(*(getattr(config, name) for name in ReadOptions._fields)),
    fingerprint=fingerprint or '',
  )
  return ImageTask(dataset, cache, config.contrast)
