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
  from gan_jax.gan.gan import (
    Gan as Gan,
    GanState as GanState,
    init as init,
    logits as logits,
    sample as sample,
  )
  from gan_jax.gan.latents import Latent as Latent, sample_latents as sample_latents
  from gan_jax.gan.losses import LOSSES as LOSSES, Loss as Loss
  from gan_jax.gan.networks import NETWORKS as NETWORKS
  from gan_jax.gan.optimizers import OPTIMIZERS as OPTIMIZERS
  from gan_jax.gan.penalties import make_penalties as make_penalties
  from gan_jax.gan.player_updates import (
    update_discriminator as update_discriminator,
    update_generator as update_generator,
  )
  from gan_jax.gan.update_rules import UPDATE_RULES as UPDATE_RULES, step as step
  from gan_jax.metrics.frechet_distance import frechet_distance as frechet_distance
  from gan_jax.training.load_run import load_run as load_run
  from gan_jax.training.train import train as train

_NAMES = {
  'config.gan_factory': ('build_gan',),
  'config.run_config': ('Config',),
  'data': ('load_dataset',),
  'data.device_batches': ('Batch',),
  'data.shuffle': ('shuffled_indices',),
  'data.synthetic': ('SYNTHETIC',),
  'gan.augment': ('AUGMENTATIONS',),
  'gan.gan': ('Gan', 'GanState', 'init', 'logits', 'sample'),
  'gan.latents': ('Latent', 'sample_latents'),
  'gan.losses': ('LOSSES', 'Loss'),
  'gan.networks': ('NETWORKS',),
  'gan.optimizers': ('OPTIMIZERS',),
  'gan.penalties': ('make_penalties',),
  'gan.player_updates': ('update_discriminator', 'update_generator'),
  'gan.update_rules': ('UPDATE_RULES', 'step'),
  'metrics.frechet_distance': ('frechet_distance',),
  'training.load_run': ('load_run',),
  'training.train': ('train',),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
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
