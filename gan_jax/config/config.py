"""What describes a run: one frozen dataclass, checked once, and the Gan that it stands for."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy.typing as npt
import optax

from gan_jax.config import checks
from gan_jax.config import dynamic_hyperparameters as scalars_lib
from gan_jax.config.dynamic_hyperparameters import Scalars
from gan_jax.diagnosis.alarms import ALARMS
from gan_jax.gan import augment, optimizers, penalties, update_ratio, weight_constraints
from gan_jax.gan.augment import AUGMENTATIONS, adaptive
from gan_jax.gan.gan import Gan
from gan_jax.gan.latents import LATENTS, Latent
from gan_jax.gan.losses import LOSSES, smooth_labels, weigh_discriminator
from gan_jax.gan.networks import NETWORKS
from gan_jax.gan.networks.spec import DTYPES, INITS, NORMS, Spec
from gan_jax.gan.update_rules import UPDATES
from gan_jax.utils.errors import UserError


def _setting(
  default: Any, help: str, choices: Iterable[str] | None = None, rare: bool = False
) -> Any:
  metadata = {'help': help, 'choices': None if choices is None else tuple(choices), 'rare': rare}
  return dataclasses.field(default=default, metadata=metadata)


_rare = functools.partial(_setting, rare=True)  # shown by --helpfull only


@dataclasses.dataclass(frozen=True)
class Config:
  """Every choice that the result of a run depends on; each field is a flag of the same name."""

  dataset: str = _setting('mnist', 'A TFDS image set, folder:PATH, stacked_mnist, or a game.')
  data_dir: str = _setting('', 'Where prepared data lie; by default $GAN_JAX_DATA_DIR, or data.')
  image_size: int = _setting(0, 'Resize images to so many pixels a side; 0 leaves them.')
  strict: bool = _rare(False, 'Refuse an image folder with a file that cannot be read.')
  contrast: float = _rare(0.0, 'Scale of global contrast normalisation (2014: 55); 0 for none.')
  conditional: bool = _setting(False, 'Tell both networks the label.')
  network: str = _setting('mlp', 'Pair of networks.', NETWORKS)
  g_width: int = _setting(0, "Units or channels of G; 0 for the network's default.")
  d_width: int = _setting(0, "Units or channels of D; 0 for the network's default.")
  g_depth: int = _rare(0, "Layers or blocks of G; 0 for the network's default.")
  d_depth: int = _rare(0, "Layers or blocks of D; 0 for the network's default.")
  g_norm: str = _rare('', "G's normalisation; empty for the network's default.", NORMS)
  d_norm: str = _rare('', "D's normalisation; empty for the network's default.", NORMS)
  scale: float = _rare(1.0, 'Size of points: D divides them by it, G multiplies.')
  g_output_bias: str = _rare('marginals', "Start of G's output bias.", ('marginals', 'zeros'))
  init: str = _rare('scaled', "First weights: by fan-in, 2014's, or PyTorch's default.", INITS)
  d_dropout: bool = _setting(False, "D's dropout of 2014: .2 on its input, .5 on hidden layers.")
  dtype: str = _rare('float32', 'Type to compute in; parameters stay float32.', DTYPES)
  remat: bool = _rare(False, 'Compute blocks twice instead of keeping their outputs.')
  accumulate: int = _rare(1, "Parts of each device's batch, one after another, to save memory.")
  loss: str = _setting('non_saturating', 'Adversarial loss.', LOSSES)
  label_smoothing: float = _setting(0.0, "One-sided: lowers D's target of 1 on data by this.")
  d_loss_weight: float = _rare(1.0, "Factor on D's loss; 0.5 is the mean over the mixture.")
  r1: float = _setting(1.0, 'Weight of R1, 1/2 E|grad D(x)|^2 on data: the 1/2 is inside.')
  r2: float = _setting(0.0, 'Weight of R2, 1/2 E|grad D(G(z))|^2 on samples: the 1/2 is inside.')
  gradient_penalty: float = _setting(0.0, 'Weight of WGAN-GP, E(|grad D| - 1)^2 in between.')
  dragan: float = _rare(0.0, 'Weight of DRAGAN, E(|grad D| - 1)^2 around the data.')
  r1_every: int = _rare(1, "Updates of D between R1's turns, each weighed that many times.")
  r2_every: int = _rare(1, "The same for R2's turns.")
  gradient_penalty_every: int = _rare(1, "The same for WGAN-GP's turns.")
  dragan_every: int = _rare(1, "The same for DRAGAN's turns.")
  penalty_decay: float = _rare(1.0, "Factor on penalties' weights at the end of a geometric decay.")
  consensus: float = _rare(0.0, "Weight of 1/2 |v|^2, v both players' gradients.")
  d_clip: float = _rare(0.0, "Clip D's weights to [-d_clip, d_clip]; 0 for not.")
  max_norm: float = _rare(0.0, "Largest norm of a unit's incoming weights; 0 for any.")
  augment: str = _setting('none', 'What D sees instead of images.', AUGMENTATIONS)
  augment_p: float = _rare(1.0, 'Probability of each augmentation, without --ada_target.')
  ada_target: float = _rare(
    0.0, 'ADA: adapt that probability until E sign D(x) is this (.6); 0: no.'
  )
  instance_noise: float = _rare(0.0, "Std of noise on D's inputs at the start, falling linearly.")
  noise_share: float = _rare(1.0, 'Share of the run in which that noise falls to 0.')
  latent: str = _setting('uniform', 'Prior p(z), of unit variance.', LATENTS)
  latent_size: int = _setting(100, 'Dimensions of z.')
  update: str = _setting('alternating', 'Order of the updates.', UPDATES)
  k: str = _setting('1', 'Updates of D per update of G: a number, 0.5 too, or auto.')
  k_target: float = _rare(
    1.0, 'auto: updates of D that should make good what one of G undoes, on held-out data.'
  )
  unroll: int = _rare(5, 'Updates of D that G looks ahead with --update=unrolled.')
  batch_size: int = _setting(100, 'Images per update, over all devices.')
  g_optimizer: str = _setting('adam', "G's optimizer.", optimizers.OPTIMIZERS)
  d_optimizer: str = _setting('adam', "D's optimizer.", optimizers.OPTIMIZERS)
  g_lr: float = _setting(2e-4, "G's learning rate.")
  d_lr: float = _setting(2e-4, "D's learning rate.")
  g_b1: float = _setting(0.5, "G's Adam beta1, or momentum.")
  d_b1: float = _setting(0.5, "D's Adam beta1, or momentum.")
  g_b2: float = _rare(0.999, "G's Adam beta2, or last momentum of sgd_2014.")
  d_b2: float = _rare(0.999, "D's Adam beta2, or last momentum of sgd_2014.")
  g_schedule: str = _setting('constant', "Course of G's learning rate.", optimizers.SCHEDULES)
  d_schedule: str = _setting('constant', "Course of D's learning rate.", optimizers.SCHEDULES)
  ema_decay: float = _setting(0.999, "Decay of the moving average of G's weights.")
  steps: int = _setting(20_000, 'Generator updates in all.')
  seed: int = _setting(0, 'Seed of everything random.')
  log_every: int = _setting(100, 'Steps between lines of metrics.jsonl.')
  eval_every: int = _setting(
    2000, 'Steps between evaluations, each with pictures and a checkpoint.'
  )
  referee_every: int = _setting(
    500, "Steps between the referee's looks, which watch for alarms; 0 for none."
  )
  stop_on: str = _setting('', f'Alarms that end the run: any of {", ".join(ALARMS)}.')
  checkpoint_every: int = _rare(1000, 'Steps between checkpoints.')
  keep: int = _rare(3, 'Latest checkpoints to keep, beside the best.')

  def __post_init__(self) -> None:
    """Refuse, with one line, what cannot be run."""
    for field in dataclasses.fields(self):
      checks.check_setting(field, getattr(self, field.name))
    checks.check_together(self)

  @property
  def stops(self) -> tuple[str, ...]:
    """The names of the alarms that end the run."""
    return tuple(name for name in self.stop_on.split(',') if name)

  @property
  def ratio(self) -> update_ratio.Ratio | None:
    """The fixed k; None where it is chosen while training."""
    return None if self.k == 'auto' else update_ratio.ratio(float(self.k))


# What a run may change when it goes on, because no update of any network depends on it but for rounding.
_FREE = {
  'accumulate',
  'data_dir',
  'log_every',
  'eval_every',
  'referee_every',
  'stop_on',
  'checkpoint_every',
  'keep',
}


def differences(old: dict[str, Any], new: Config) -> list[str]:
  """The settings in which a run folder's `old` flags forbid to go on with `new`, as '--flag=old, now new'."""
  free = set(_FREE)
  falling = {new.g_schedule, new.d_schedule} & optimizers.DEPEND_ON_STEPS
  if not (falling or new.instance_noise or new.penalty_decay != 1):
    free.add('steps')
  return [
    f'--{name} is {old.get(name)}, now {value}'
    for name, value in dataclasses.asdict(new).items()
    if name not in free and old.get(name) != value and not (name == 'k' and _same_k(old, new))
  ]


def _same_k(old: dict[str, Any], new: Config) -> bool:
  """Whether k is one number in two spellings."""
  return 'auto' not in (old['k'], new.k) and float(old['k']) == float(new.k)


def from_json(values: dict[str, Any]) -> Config:
  """The Config that `dataclasses.asdict` once wrote; raises UserError for fields of another version."""
  known = {field.name for field in dataclasses.fields(Config)}
  if set(values) != known:
    odd = ', '.join(sorted(set(values) ^ known))
    raise UserError(f'config.json: its settings do not fit this version of gan_jax ({odd})')
  return Config(**values)


def build(
  config: Config,
  shape: tuple[int, ...],
  n: int | None,
  n_classes: int = 0,
  mean_image: npt.ArrayLike | None = None,
  scalars: Scalars | None = None,
) -> Gan:
  """The Gan of a run on n examples of `shape`, None for endlessly many; raises UserError.

  `mean_image` [h, w, c] in [0, 1] starts the generator's output bias; only training needs it.
  `scalars` are its numbers as a program receives them, by default those of `config` themselves.
  """
  at = scalars_lib.of(config, n) if scalars is None else scalars
  if config.conditional and not n_classes:
    raise UserError(f'--conditional: {config.dataset} has no labels; use --noconditional')
  augment.check(config.augment, shape)
  n_classes = n_classes if config.conditional else 0
  unbiased = config.g_output_bias == 'zeros' or config.contrast > 0
  generator, discriminator = NETWORKS[config.network](
    Spec(
      shape=shape,
      n_classes=n_classes,
      mean_image=None if unbiased or mean_image is None else jnp.asarray(mean_image, jnp.float32),
      **{
        name: getattr(config, name)
        for name in (
          *('g_width', 'd_width', 'g_depth', 'd_depth', 'g_norm', 'd_norm'),
          *('init', 'd_dropout', 'dtype', 'remat', 'scale'),
        )
      },
    )
  )
  if getattr(discriminator, 'norm', '') == 'batch':
    _refuse_batch_norm(config)
  if config.accumulate > 1 and 'batch' in {
    getattr(x, 'norm', '') for x in (generator, discriminator)
  }:
    raise UserError(
      f'--accumulate={config.accumulate}: batch norm needs the whole batch at once; use --accumulate=1, or '
      '--g_norm=none and --d_norm=none'
    )
  ada = None
  if config.ada_target:
    ada = functools.partial(adaptive.update, batch_size=config.batch_size, target=at['ada_target'])
  loss = LOSSES[config.loss]
  if config.label_smoothing:
    loss = smooth_labels(loss, at['label_smoothing'])
  if config.d_loss_weight != 1:
    loss = weigh_discriminator(loss, at['d_loss_weight'])
  bound = [weight_constraints.max_column_norm(at['max_norm'])] if config.max_norm else []
  clip = [weight_constraints.clip(at['d_clip'])] if config.d_clip else []
  return Gan(
    generator=generator,
    discriminator=discriminator,
    g_tx=_optimizer(config, 'g', at),
    d_tx=_optimizer(config, 'd', at),
    loss=loss,
    latent=Latent(config.latent, config.latent_size),
    g_rate=optimizers.SCHEDULES[config.g_schedule](at['g_lr'], at['steps']),
    d_rate=optimizers.SCHEDULES[config.d_schedule](at['d_lr'], at['steps']),
    ema_decay=at['ema_decay'],
    penalties=penalties.weighted_sum(
      {name: at.get(name, 0.0) for name in penalties.PENALTIES},
      {name: getattr(config, f'{name}_every') for name in penalties.PENALTIES},
    ),
    penalty_scale=(
      None
      if config.penalty_decay == 1
      else optimizers.geometric(1.0, at['penalty_decay'], at['steps'])
    ),
    consensus=at.get('consensus', 0.0),
    unroll=config.unroll if config.update == 'unrolled' else 0,
    g_project=weight_constraints.sequence(*bound),
    d_project=weight_constraints.sequence(*bound, *clip),
    augment=config.augment,
    augment_p=at['augment_p'],
    ada=ada,
    noise=(
      optimizers.linear(at['instance_noise'], at['noise_steps']) if config.instance_noise else None
    ),
    balance=update_ratio.Balance(at['k_target']) if config.k == 'auto' else None,
    n_classes=n_classes,
    accumulate=config.accumulate,
    contrast=config.contrast,
  )


def _refuse_batch_norm(config: Config) -> None:
  """Raise UserError where D's batch norm would spoil what is measured of single examples."""
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


def _optimizer(config: Config, player: str, at: Scalars) -> optax.GradientTransformation:
  """The optimizer of player 'g' or 'd'."""
  name = getattr(config, f'{player}_optimizer')
  make = optimizers.OPTIMIZERS[name]
  if name == 'adam' and config.update == 'unrolled' and player == 'd':
    make = optimizers.smooth_adam
  tx = make(at[f'{player}_b1'], at[f'{player}_b2'], at.get(f'{player}_epoch', 1))
  return optimizers.optimistic(tx) if config.update == 'optimistic' else tx


def ratio(config: Config, scalars: Scalars) -> update_ratio.Ratio | None:
  """The fixed k of the program that receives `scalars`; None where it is chosen while training."""
  if scalars_lib.k_kind(config) == 'fixed':
    return update_ratio.Ratio(scalars['k_numerator'], scalars['k_denominator'])
  return config.ratio
