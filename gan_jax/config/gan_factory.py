"""Makes the Gan that a run's settings stand for."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy.typing as npt
import optax

from gan_jax.config import dynamic_hyperparameters
from gan_jax.config.run_config import Config
from gan_jax.gan import augment, optimizers, penalties, update_ratio, weight_constraints
from gan_jax.gan.augment import ada_controller
from gan_jax.gan.gan import Gan
from gan_jax.gan.latents import Latent
from gan_jax.gan.learning_rate_schedules import SCHEDULES, geometric, linear
from gan_jax.gan.losses import LOSSES, Loss, scale_discriminator_loss, smooth_labels
from gan_jax.gan.networks import NETWORKS
from gan_jax.gan.networks.network_spec import NetworkSpec
from gan_jax.gan.train_step import Hyperparameters
from gan_jax.utils.errors import UserError

_NETWORK_SETTINGS = (
  *('g_width', 'd_width', 'g_depth', 'd_depth', 'g_norm', 'd_norm'),
  *('init', 'd_dropout', 'dtype', 'remat', 'scale'),
)


def build_gan(
  config: Config,
  shape: tuple[int, ...],
  n: int | None,
  n_classes: int = 0,
  mean_image: npt.ArrayLike | None = None,
  hyperparameters: Hyperparameters | None = None,
) -> Gan:
  """Returns the networks, losses, optimizers and schedules of a run.

  Args:
    config: the settings of the run.
    shape: shape of one example.
    n: training examples; None for a synthetic distribution.
    n_classes: classes of the data, 0 without labels.
    mean_image: [h, w, c] in [0, 1], initialises the generator's output bias; only training needs it.
    hyperparameters: numbers that replace those of `config`, tracers inside a compiled program.

  Raises:
    UserError: where the settings do not fit the data.
  """
  at = hyperparameters or dynamic_hyperparameters.hyperparameter_values(config, n)
  augment.check_augmentation(config.augment, shape)
  generator, discriminator = _networks(config, shape, n_classes, mean_image)
  return Gan(
    generator=generator,
    discriminator=discriminator,
    g_tx=_optimizer(config, 'g', at),
    d_tx=_optimizer(config, 'd', at),
    loss=_loss(config, at),
    latent=Latent(config.latent, config.latent_size),
    g_rate=SCHEDULES[config.g_schedule](at['g_lr'], at['steps']),
    d_rate=SCHEDULES[config.d_schedule](at['d_lr'], at['steps']),
    ema_decay=at['ema_decay'],
    unroll=config.unroll if config.update == 'unrolled' else 0,
    ratio_controller=update_ratio.RatioController(at['k_target']) if config.k == 'auto' else None,
    n_classes=n_classes if config.conditional else 0,
    accumulate=config.accumulate,
    contrast=config.contrast,
    **_regularisers(config, at),
    **_augmentation(config, at),
  )


def _networks(
  config: Config, shape: tuple[int, ...], n_classes: int, mean_image: npt.ArrayLike | None
) -> tuple[nn.Module, nn.Module]:
  """Returns generator and discriminator; raises UserError where settings or data do not fit them."""
  if config.conditional and not n_classes:
    raise UserError(f'--conditional: {config.dataset} has no labels; use --noconditional')
  unbiased = config.g_output_bias == 'zeros' or config.contrast > 0 or mean_image is None
  networks = NETWORKS[config.network](
    NetworkSpec(
      shape=shape,
      n_classes=n_classes if config.conditional else 0,
      mean_image=None if unbiased else jnp.asarray(mean_image, jnp.float32),
      **{name: getattr(config, name) for name in _NETWORK_SETTINGS},
    )
  )
  g_norm, d_norm = (getattr(network, 'norm', '') for network in networks)
  if d_norm == 'batch':
    _refuse_batch_norm(config)
  if config.accumulate > 1 and 'batch' in (g_norm, d_norm):
    raise UserError(
      f'--accumulate={config.accumulate}: batch norm needs the whole batch at once; use --accumulate=1, or '
      '--g_norm=none and --d_norm=none'
    )
  return networks


def _loss(config: Config, at: Hyperparameters) -> Loss:
  """Returns the adversarial loss, with smoothed labels and D's weight where they are set."""
  loss = LOSSES[config.loss]
  if config.label_smoothing:
    loss = smooth_labels(loss, at['label_smoothing'])
  if config.d_loss_weight != 1:
    loss = scale_discriminator_loss(loss, at['d_loss_weight'])
  return loss


def _regularisers(config: Config, at: Hyperparameters) -> dict[str, Any]:
  """Returns penalties, the consensus term and weight constraints, as fields of `Gan`."""
  bound = [weight_constraints.max_column_norm(at['max_norm'])] if config.max_norm else []
  clip = [weight_constraints.clip(at['d_clip'])] if config.d_clip else []
  decays = config.penalty_decay != 1
  return {
    'penalties': penalties.make_penalties(
      {name: at.get(name, 0.0) for name in penalties.PENALTIES},
      {name: getattr(config, f'{name}_every') for name in penalties.PENALTIES},
    ),
    'penalty_scale': geometric(1.0, at['penalty_decay'], at['steps']) if decays else None,
    'consensus': at.get('consensus', 0.0),
    'g_project': weight_constraints.chain(*bound),
    'd_project': weight_constraints.chain(*bound, *clip),
  }


def _augmentation(config: Config, at: Hyperparameters) -> dict[str, Any]:
  """Returns augmentation, its controller and instance noise, as fields of `Gan`."""
  ada = functools.partial(ada_controller.update_ada, batch_size=config.batch_size)
  return {
    'augment': config.augment,
    'augment_p': at['augment_p'],
    'ada': functools.partial(ada, target=at['ada_target']) if config.ada_target else None,
    'noise': linear(at['instance_noise'], at['noise_steps']) if config.instance_noise else None,
  }


def _refuse_batch_norm(config: Config) -> None:
  """Raises UserError for settings that need per-example gradients or losses, which batch norm in D prevents."""
  for name in ('r1', 'r2', 'gradient_penalty', 'dragan'):
    if getattr(config, name):
      raise UserError(
        f"--{name}={getattr(config, name)}: with batch norm in D no gradient is one example's own; "
        f'use --{name}=0, or --d_norm=none'
      )
  if config.k == 'auto':
    raise UserError(
      '--k=auto: with batch norm D is another network where it is measured; use a number, or --d_norm=none'
    )


def _optimizer(config: Config, player: str, at: Hyperparameters) -> optax.GradientTransformation:
  """Returns the optimizer of player 'g' or 'd'."""
  name = getattr(config, f'{player}_optimizer')
  make = optimizers.OPTIMIZERS[name]
  if name == 'adam' and config.update == 'unrolled' and player == 'd':
    make = optimizers.smooth_adam
  tx = make(at[f'{player}_b1'], at[f'{player}_b2'], at.get(f'{player}_epoch', 1))
  return optimizers.optimistic(tx) if config.update == 'optimistic' else tx


def fixed_ratio(
  config: Config, hyperparameters: Hyperparameters
) -> update_ratio.UpdateRatio | None:
  """Returns the fixed k of the program that takes `hyperparameters`; None where a controller adapts k."""
  if dynamic_hyperparameters.k_mode(config) == 'fixed':
    return update_ratio.UpdateRatio(
      hyperparameters['k_numerator'], hyperparameters['k_denominator']
    )
  return config.ratio
