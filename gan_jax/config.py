"""What describes a run: one frozen dataclass, checked once, and the Gan that it stands for."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import jax

from gan_jax import optimizers
from gan_jax.errors import UserError
from gan_jax.gan import UPDATES, Gan
from gan_jax.latents import LATENTS, Latent
from gan_jax.losses import LOSSES, weigh_discriminator
from gan_jax.networks import NETWORKS
from gan_jax.penalties import weighted_sum


def _setting(default: Any, help: str, choices: Iterable[str] | None = None) -> Any:
  metadata = {'help': help, 'choices': None if choices is None else tuple(choices)}
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
  """Every choice that the result of a run depends on; each field is a flag of the same name."""

  dataset: str = _setting('mnist', 'Images to learn: a TFDS name.')
  data_dir: str = _setting('', 'Where prepared data lie; by default $GAN_JAX_DATA_DIR, or data.')
  network: str = _setting('mlp', 'Pair of networks.', NETWORKS)
  g_width: int = _setting(1200, "Units of G's hidden layers.")
  d_width: int = _setting(240, "Units of D's hidden layers (maxout: of 5 pieces each).")
  g_output_bias: str = _setting('marginals', "Start of G's output bias.", ('marginals', 'zeros'))
  init: str = _setting('scaled', "First weights: by fan-in, or 2014's.", ('scaled', '2014'))
  d_dropout: bool = _setting(False, "D's dropout of 2014: .2 on its input, .5 on hidden layers.")
  loss: str = _setting('non_saturating', 'Adversarial loss.', LOSSES)
  d_loss_weight: float = _setting(1.0, "Factor on D's loss; 0.5 is the mean over the mixture.")
  r1: float = _setting(1.0, 'Weight of the R1 penalty on D, 1/2 E|grad D(x)|^2; 0 for none.')
  latent: str = _setting('uniform', 'Prior p(z), of unit variance.', LATENTS)
  latent_size: int = _setting(100, 'Dimensions of z.')
  update: str = _setting('alternating', 'Order of the updates.', UPDATES)
  k: int = _setting(1, 'Discriminator updates per generator update.')
  batch_size: int = _setting(100, 'Images per update, over all devices.')
  g_optimizer: str = _setting('adam', "G's optimizer.", optimizers.OPTIMIZERS)
  d_optimizer: str = _setting('adam', "D's optimizer.", optimizers.OPTIMIZERS)
  g_lr: float = _setting(2e-4, "G's learning rate.")
  d_lr: float = _setting(2e-4, "D's learning rate.")
  g_b1: float = _setting(0.5, "G's Adam beta1, or momentum.")
  d_b1: float = _setting(0.5, "D's Adam beta1, or momentum.")
  g_b2: float = _setting(0.999, "G's Adam beta2, or last momentum of sgd_2014.")
  d_b2: float = _setting(0.999, "D's Adam beta2, or last momentum of sgd_2014.")
  g_schedule: str = _setting('constant', "Course of G's learning rate.", optimizers.SCHEDULES)
  d_schedule: str = _setting('constant', "Course of D's learning rate.", optimizers.SCHEDULES)
  ema_decay: float = _setting(0.999, "Decay of the moving average of G's weights.")
  steps: int = _setting(20_000, 'Generator updates in all.')
  seed: int = _setting(0, 'Seed of everything random.')
  log_every: int = _setting(100, 'Steps between lines of metrics.jsonl.')
  eval_every: int = _setting(
    2000, 'Steps between evaluations, each with pictures and a checkpoint.'
  )
  checkpoint_every: int = _setting(1000, 'Steps between checkpoints.')
  keep: int = _setting(3, 'Latest checkpoints to keep, beside the best.')

  def __post_init__(self) -> None:
    """Refuse, with one line, what cannot be run."""
    for field in dataclasses.fields(self):
      _check_field(field, getattr(self, field.name))
    if self.update == 'simultaneous' and self.k != 1:
      raise UserError(
        f'--k={self.k}: --update=simultaneous moves both players once per step; '
        'use --k=1, or --update=alternating'
      )
    for player in 'gd':
      b2 = getattr(self, f'{player}_b2')
      if getattr(self, f'{player}_optimizer') == 'sgd_2014' and b2 > 0.99:
        raise UserError(
          f'--{player}_b2={b2}: with --{player}_optimizer=sgd_2014 this is the last momentum; '
          f'2014 had --{player}_b2=0.7'
        )
      if (
        getattr(self, f'{player}_optimizer') == 'adam'
        and getattr(self, f'{player}_schedule') == '2014'
      ):
        raise UserError(
          f'--{player}_schedule=2014: this decay belongs to --{player}_optimizer=sgd_2014, '
          'not adam; choose constant, linear or cosine'
        )


_ABOVE_ZERO = {'g_lr', 'd_lr', 'd_loss_weight'}
_NOT_NEGATIVE = {'r1'}
_FRACTIONS = {'g_b1', 'd_b1', 'g_b2', 'd_b2', 'ema_decay'}
_FROM_ZERO = {'seed'}


def _check_field(field: dataclasses.Field[Any], value: Any) -> None:
  """Raise UserError where one setting by itself makes no sense."""
  flag = f'--{field.name}={value}'
  choices = field.metadata['choices']
  if choices is not None and value not in choices:
    raise UserError(f'{flag}: choose one of {", ".join(choices)}')
  if field.type is float and not math.isfinite(value):
    raise UserError(f'{flag}: give a finite number')
  if field.name in _ABOVE_ZERO and value <= 0:
    raise UserError(f'{flag}: give a number above 0')
  if field.name in _NOT_NEGATIVE and value < 0:
    raise UserError(f'{flag}: give 0, or a number above it')
  if field.name in _FRACTIONS and not 0 <= value < 1:
    raise UserError(f'{flag}: give a number of at least 0 and below 1')
  if field.type is int:
    least = 0 if field.name in _FROM_ZERO else 1
    if not least <= value < 2**31:
      raise UserError(f'{flag}: give a whole number from {least} to {2**31 - 1}')


# What a run may change when it goes on, because no update of any network depends on it.
_FREE = {'data_dir', 'log_every', 'eval_every', 'checkpoint_every', 'keep'}


def differences(old: dict[str, Any], new: Config) -> list[str]:
  """The settings in which a run folder's `old` flags forbid to go on with `new`, as '--flag=old, now new'."""
  free = set(_FREE)
  if not {new.g_schedule, new.d_schedule} & optimizers.DEPEND_ON_STEPS:
    free.add('steps')
  return [
    f'--{name} is {old.get(name)}, now {value}'
    for name, value in dataclasses.asdict(new).items()
    if name not in free and old.get(name) != value
  ]


def from_json(values: dict[str, Any]) -> Config:
  """The Config that `dataclasses.asdict` once wrote; raises UserError for fields of another version."""
  known = {field.name for field in dataclasses.fields(Config)}
  if set(values) != known:
    odd = ', '.join(sorted(set(values) ^ known))
    raise UserError(f'config.json: its settings do not fit this version of gan_jax ({odd})')
  return Config(**values)


def build(
  config: Config, shape: tuple[int, ...], n: int, mean_image: jax.Array | None = None
) -> Gan:
  """The Gan of a run on n images of `shape` [h, w, c].

  `mean_image` [h, w, c] in [0, 1] starts the generator's output bias; only training needs it.
  """
  if config.g_output_bias == 'zeros':
    mean_image = None
  generator, discriminator = NETWORKS[config.network](
    shape,
    g_width=config.g_width,
    d_width=config.d_width,
    init=config.init,
    d_dropout=config.d_dropout,
    mean_image=mean_image,
  )
  epoch = max(1, n // (config.batch_size * config.k))

  def tx(player: str, epoch: int) -> Any:
    lr, b1, b2 = (getattr(config, f'{player}_{name}') for name in ('lr', 'b1', 'b2'))
    updates = config.steps * (config.k if player == 'd' else 1)
    schedule = optimizers.SCHEDULES[getattr(config, f'{player}_schedule')](lr, updates)
    return optimizers.OPTIMIZERS[getattr(config, f'{player}_optimizer')](schedule, b1, b2, epoch)

  return Gan(
    generator=generator,
    discriminator=discriminator,
    g_tx=tx('g', epoch),
    d_tx=tx('d', epoch * config.k),
    loss=weigh_discriminator(LOSSES[config.loss], config.d_loss_weight),
    penalty=weighted_sum({'r1': config.r1}),
    latent=Latent(config.latent, config.latent_size),
    ema_decay=config.ema_decay,
  )
