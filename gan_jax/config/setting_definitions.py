"""Lists every setting of a run, with its default, its help text and its choices."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

from gan_jax.data.reader.options import KINDS, LAYOUTS
from gan_jax.gan import learning_rate_schedules, optimizers, update_ratio
from gan_jax.gan.augment import AUGMENTATIONS
from gan_jax.gan.latents import LATENTS
from gan_jax.gan.losses import LOSSES
from gan_jax.gan.networks import NETWORKS
from gan_jax.gan.networks.network_spec import DTYPES, INITS, NORMS
from gan_jax.gan.update_rules import UPDATE_RULES

ALARMS = ('collapse', 'starved', 'overfitted', 'diverged')  # that --stop_on may name


def _setting(default: Any, help: str, choices: Iterable[str] = (), rare: bool = False) -> Any:
  metadata = {'help': help, 'choices': tuple(choices) or None, 'rare': rare}
  return dataclasses.field(default=default, metadata=metadata)


_rare = functools.partial(_setting, rare=True)  # shown by --helpfull only


@dataclasses.dataclass(frozen=True)
class Settings:
  """Holds every setting that the result of a run depends on; each field is a flag of the same name."""

  dataset: str = _setting(
    'mnist', 'TFDS set, stacked_mnist, synthetic data, or folder:PATH, zip:PATH.'
  )
  data_dir: str = _setting('', 'Folder of prepared data; by default $GAN_JAX_DATA_DIR, or data.')
  image_size: int = _setting(0, 'Resize images to this many pixels a side; 0 for their own size.')
  strict: bool = _rare(False, 'Refuse an image folder with a file that cannot be read.')
  labels: str = _rare('auto', 'Labels of files: none, folders, or a file of paths and labels.')
  split_fractions: str = _rare('', 'Training, validation, test: 0.8,0.1,0.1; or 1,0,0 for all.')
  background: str = _rare('white', 'Colour behind transparent pixels of files.')
  layout: str = _rare('auto', 'Axes of arrays of images in files.', LAYOUTS)
  kind: str = _rare('auto', 'What arrays in files hold.', KINDS)
  contrast: float = _rare(0.0, 'Scale of global contrast normalisation (2014: 55); 0 for none.')
  conditional: bool = _setting(False, 'Condition both networks on the label.')
  network: str = _setting('mlp', 'Pair of networks.', NETWORKS)
  g_width: int = _setting(0, "Units or channels of G; 0 for the network's default.")
  d_width: int = _setting(0, "Units or channels of D; 0 for the network's default.")
  g_depth: int = _rare(0, "Layers or blocks of G; 0 for the network's default.")
  d_depth: int = _rare(0, "Layers or blocks of D; 0 for the network's default.")
  g_norm: str = _rare('', "G's normalisation; empty for the network's default.", NORMS)
  d_norm: str = _rare('', "D's normalisation; empty for the network's default.", NORMS)
  scale: float = _rare(1.0, 'Scale of points: D divides its input by it, G multiplies its output.')
  g_output_bias: str = _rare('marginals', 'Initial output bias of G.', ('marginals', 'zeros'))
  init: str = _rare('scaled', "Initial weights: by fan-in, of 2014, or PyTorch's.", INITS)
  d_dropout: bool = _setting(False, "D's dropout of 2014: .2 on its input, .5 on hidden layers.")
  dtype: str = _rare('float32', 'Type to compute in; parameters stay float32.', DTYPES)
  remat: bool = _rare(False, 'Recompute blocks in the backward pass to save memory.')
  accumulate: int = _rare(1, "Microbatches of each device's batch (gradient accumulation).")
  loss: str = _setting('non_saturating', 'Adversarial loss.', LOSSES)
  label_smoothing: float = _setting(0.0, "One-sided: lowers D's target of 1 on data by this.")
  d_loss_weight: float = _rare(1.0, "Factor on D's loss; 0.5 is the mean over the mixture.")
  r1: float = _setting(1.0, 'Weight of R1, 1/2 E|grad D(x)|^2 on data: the 1/2 is inside.')
  r2: float = _setting(0.0, 'Weight of R2, 1/2 E|grad D(G(z))|^2 on samples: the 1/2 is inside.')
  gradient_penalty: float = _setting(0.0, 'Weight of WGAN-GP, E(|grad D| - 1)^2 in between.')
  dragan: float = _rare(0.0, 'Weight of DRAGAN, E(|grad D| - 1)^2 around the data.')
  r1_every: int = _rare(1, 'Lazy interval of R1, in updates of D; its weight grows alike.')
  r2_every: int = _rare(1, 'Lazy interval of R2.')
  gradient_penalty_every: int = _rare(1, 'Lazy interval of WGAN-GP.')
  dragan_every: int = _rare(1, 'Lazy interval of DRAGAN.')
  penalty_decay: float = _rare(1.0, "Geometric decay: factor on penalties' weights at the end.")
  consensus: float = _rare(0.0, "Weight of 1/2 |v|^2, v both players' gradients.")
  d_clip: float = _rare(0.0, "Clip D's weights to [-d_clip, d_clip]; 0 for not.")
  max_norm: float = _rare(0.0, "Largest norm of a unit's incoming weights; 0 for any.")
  augment: str = _setting('none', 'Augmentation of the images that D sees.', AUGMENTATIONS)
  augment_p: float = _rare(1.0, 'Probability of each augmentation, without --ada_target.')
  ada_target: float = _rare(0.0, 'ADA: adapt augment_p until E sign D(x) is this (.6); 0: no.')
  instance_noise: float = _rare(0.0, "Std of noise on D's inputs at the start, falling linearly.")
  noise_share: float = _rare(1.0, 'Share of the run in which that noise falls to 0.')
  latent: str = _setting('uniform', 'Prior p(z), of unit variance.', LATENTS)
  latent_size: int = _setting(100, 'Dimensions of z.')
  update: str = _setting('alternating', 'Update rule: the order of the updates.', UPDATE_RULES)
  k: str = _setting('1', 'Updates of D per update of G: a number, 0.5 too, or auto.')
  k_target: float = _rare(1.0, 'auto: updates of D whose gain is to equal the loss by one of G.')
  unroll: int = _rare(5, 'Unrolled updates of D with --update=unrolled.')
  batch_size: int = _setting(100, 'Images per update, over all devices.')
  g_optimizer: str = _setting('adam', "G's optimizer.", optimizers.OPTIMIZERS)
  d_optimizer: str = _setting('adam', "D's optimizer.", optimizers.OPTIMIZERS)
  g_lr: float = _setting(2e-4, "G's learning rate.")
  d_lr: float = _setting(2e-4, "D's learning rate.")
  g_b1: float = _setting(0.5, "G's Adam beta1, or momentum.")
  d_b1: float = _setting(0.5, "D's Adam beta1, or momentum.")
  g_b2: float = _rare(0.999, "G's Adam beta2, or last momentum of sgd_2014.")
  d_b2: float = _rare(0.999, "D's Adam beta2, or last momentum of sgd_2014.")
  g_schedule: str = _setting(
    'constant', "Schedule of G's learning rate.", learning_rate_schedules.SCHEDULES
  )
  d_schedule: str = _setting(
    'constant', "Schedule of D's learning rate.", learning_rate_schedules.SCHEDULES
  )
  ema_decay: float = _setting(0.999, "Decay of the moving average of G's weights.")
  steps: int = _setting(20_000, 'Number of generator updates.')
  seed: int = _setting(0, 'Seed of all random numbers.')
  log_every: int = _setting(100, 'Steps between lines of metrics.jsonl.')
  eval_every: int = _setting(2000, 'Steps between evaluations, with pictures and a checkpoint.')
  referee_every: int = _setting(500, 'Steps between monitors, which raise alarms; 0 for none.')
  stop_on: str = _setting('', f'Alarms that end the run: any of {", ".join(ALARMS)}.')
  checkpoint_every: int = _rare(1000, 'Steps between checkpoints.')
  keep: int = _rare(3, 'Latest checkpoints to keep, beside the best.')

  @property
  def stops(self) -> tuple[str, ...]:
    """Returns the names of the alarms that end the run."""
    return tuple(name for name in self.stop_on.split(',') if name)

  @property
  def ratio(self) -> update_ratio.UpdateRatio | None:
    """Returns the fixed k; None where a controller adapts k while training."""
    return None if self.k == 'auto' else update_ratio.ratio_from_float(float(self.k))
