"""Trains generative adversarial networks as pure functions in JAX, measures them, and diagnoses the result.

The names below are what a script needs. Each is imported at its first use, so `import gan_jax` is cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from gan_jax.config.gan_factory import build_gan as build_gan
  from gan_jax.config.run_config import Config as Config
  from gan_jax.data import load_dataset as load_dataset
  from gan_jax.data.device_batches import Batch as Batch
  from gan_jax.data.shuffle import shuffled_indices as shuffled_indices
  from gan_jax.data.synthetic import SYNTHETIC as SYNTHETIC
  from gan_jax.gan.augment import AUGMENTATIONS as AUGMENTATIONS
  from gan_jax.gan.gan import Gan as Gan
  from gan_jax.gan.gan import GanState as GanState
  from gan_jax.gan.gan import init as init
  from gan_jax.gan.gan import logits as logits
  from gan_jax.gan.gan import sample as sample
  from gan_jax.gan.latents import Latent as Latent
  from gan_jax.gan.latents import sample_latents as sample_latents
  from gan_jax.gan.losses import LOSSES as LOSSES
  from gan_jax.gan.losses import Loss as Loss
  from gan_jax.gan.networks import NETWORKS as NETWORKS
  from gan_jax.gan.optimizers import OPTIMIZERS as OPTIMIZERS
  from gan_jax.gan.penalties import make_penalties as make_penalties
  from gan_jax.gan.player_updates import update_discriminator as update_discriminator
  from gan_jax.gan.player_updates import update_generator as update_generator
  from gan_jax.gan.update_rules import UPDATE_RULES as UPDATE_RULES
  from gan_jax.gan.update_rules import step as step
  from gan_jax.metrics.frechet_distance import frechet_distance as frechet_distance
  from gan_jax.training.load_run import load_run as load_run
  from gan_jax.training.train import train as train

_MODULES = {
  'AUGMENTATIONS': 'gan.augment',
  'Batch': 'data.device_batches',
  'Config': 'config.run_config',
  'Gan': 'gan.gan',
  'GanState': 'gan.gan',
  'LOSSES': 'gan.losses',
  'Latent': 'gan.latents',
  'Loss': 'gan.losses',
  'NETWORKS': 'gan.networks',
  'OPTIMIZERS': 'gan.optimizers',
  'SYNTHETIC': 'data.synthetic',
  'UPDATE_RULES': 'gan.update_rules',
  'build_gan': 'config.gan_factory',
  'frechet_distance': 'metrics.frechet_distance',
  'init': 'gan.gan',
  'load_dataset': 'data',
  'load_run': 'training.load_run',
  'logits': 'gan.gan',
  'make_penalties': 'gan.penalties',
  'sample': 'gan.gan',
  'sample_latents': 'gan.latents',
  'shuffled_indices': 'data.shuffle',
  'step': 'gan.update_rules',
  'train': 'training.train',
  'update_discriminator': 'gan.player_updates',
  'update_generator': 'gan.player_updates',
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
  """Imports a public name at its first use."""
  if name not in _MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  value = getattr(importlib.import_module(f'{__name__}.{_MODULES[name]}'), name)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  """Lists the public names beside the module's own."""
  return sorted({*globals(), *__all__})
