"""Builds every setting of a sweep before the first one is trained, so that none fails after hours."""

from collections.abc import Callable, Sequence

import jax

from gan_jax.config import dynamic_hyperparameters, validation
from gan_jax.config.run_config import Config
from gan_jax.evaluation.tasks import Task
from gan_jax.sweep import search_space
from gan_jax.sweep.search_space import Setting
from gan_jax.training import train_spec
from gan_jax.utils.errors import UserError


def check_settings(
  base: Config, settings: Sequence[Setting], load_task: Callable[[Config], Task]
) -> None:
  """Raises UserError, which names the setting, where one of them cannot be trained on the data.

  Networks and optimizers are built, and the shapes of their states computed, once for each compiled program.
  """
  checked = set()
  for setting in settings:
    config = search_space.apply_setting(base, setting)
    key = dynamic_hyperparameters.program_key(config)
    task = load_task(config)
    try:
      validation.check_batch(config, n_devices=1)
      validation.check_batch_size(config, task.n_train)
      if key not in checked:
        init = train_spec.initial_state_fn(config, task)
        values = dynamic_hyperparameters.hyperparameter_arrays(config, task.n_train)
        jax.eval_shape(init, values, jax.random.key(0))
    except UserError as error:
      if not setting:
        raise
      raise UserError(f'{search_space.label(setting)}: {error}') from None
    checked.add(key)
