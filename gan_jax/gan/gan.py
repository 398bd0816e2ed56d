"""Defines a GAN (two networks, losses, optimizers), its training state, and evaluation-mode forward passes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from gan_jax.gan.augment import ada_controller
from gan_jax.gan.latents import Latent, sample_latents
from gan_jax.gan.learning_rate_schedules import Schedule, fixed_by_optimizer
from gan_jax.gan.losses import Loss
from gan_jax.gan.penalties import Penalty
from gan_jax.gan.update_ratio import RatioController
from gan_jax.gan.weight_constraints import Projection

PyTree = Any
Metrics = dict[str, Array]


class Gan(NamedTuple):
  """Holds everything that stays constant during training: networks, optimizers, losses and regularisers."""

  generator: nn.Module
  discriminator: nn.Module
  g_tx: optax.GradientTransformation
  d_tx: optax.GradientTransformation
  loss: Loss
  latent: Latent
  # Learning rates as functions of the step, for optimizers of OPTIMIZERS; optax.adam(...) has its own rate.
  g_rate: Schedule = fixed_by_optimizer
  d_rate: Schedule = fixed_by_optimizer
  ema_decay: float | Array = 0.999
  penalties: tuple[Penalty, ...] = ()  # added to D's loss
  penalty_scale: Schedule | None = None  # factor on the sum of penalties, by the step; None for 1
  consensus: float | Array = 0.0  # weight of 1/2 |v|^2, v the gradients of both players
  unroll: int = 0  # updates of D that G's loss is differentiated through
  g_project: Projection | None = None  # applied to the parameters after each update
  d_project: Projection | None = None
  augment: str = 'none'  # augmentation of D's inputs, a key of AUGMENTATIONS
  augment_p: float | Array = 1.0  # its probability, where no `ada` adapts it
  ada: Callable[[ada_controller.AdaState, Array], ada_controller.AdaState] | None = None
  noise: Callable[[Array], Array] | None = None  # std of instance noise, by the step
  ratio_controller: RatioController | None = None  # adapts k; None for a fixed k
  n_classes: int = 0  # 0 for unconditional networks
  accumulate: int = 1  # microbatches per batch of a device
  contrast: float = 0.0  # scale of contrast-normalised images; 0 for images in [-1, 1]


class Weights(flax.struct.PyTreeNode):
  """Holds the variables of a network: all that a forward pass needs."""

  params: PyTree
  stats: PyTree  # collections besides 'params', such as batch statistics; {} where there are none


class Player(flax.struct.PyTreeNode):
  """Holds the variables of G or of D, its optimizer's state and its number of updates."""

  params: PyTree
  stats: PyTree
  opt_state: optax.OptState
  count: Array  # updates so far, int32

  @property
  def weights(self) -> Weights:
    """Returns the network's variables without the optimizer's state."""
    return Weights(self.params, self.stats)


class GanState(flax.struct.PyTreeNode):
  """Holds everything that training changes: exactly the content of a checkpoint."""

  step: Array  # steps so far, each with one generator update, int32
  g: Player
  d: Player
  g_ema: Weights  # moving average of G
  controls: dict[str, PyTree]  # state of adaptive controllers ('augment', 'k'); {} without any


def init(gan: Gan, key: Array, images: Array) -> GanState:
  """Initialises the training state; of `images` [n, ...] only the shape matters."""
  g_key, d_key, z_key = jax.random.split(key, 3)
  labels = jnp.zeros(1, jnp.int32) if gan.n_classes else None
  latents = sample_latents(gan.latent, z_key[None])
  g = _init_player(gan.generator, gan.g_tx, g_key, latents, labels)
  d = _init_player(gan.discriminator, gan.d_tx, d_key, images[:1], labels)
  controls: dict[str, PyTree] = {}
  if gan.ada is not None:
    controls['augment'] = ada_controller.init_ada()
  if gan.ratio_controller is not None:
    controls['k'] = gan.ratio_controller.init()
  # A copy: a donated state must not hold one buffer twice.
  return GanState(jnp.zeros((), jnp.int32), g, d, jax.tree.map(jnp.copy, g.weights), controls)


def _init_player(
  network: nn.Module, tx: optax.GradientTransformation, key: Array, x: Array, labels: Array | None
) -> Player:
  stats, params = flax.core.pop(network.init(key, x, labels, train=False), 'params')
  return Player(params, stats, tx.init(params), jnp.zeros((), jnp.int32))


def sample(gan: Gan, weights: Weights, latents: Array, labels: Array | None = None) -> Array:
  """Generates images [n, ...] from `latents` [n, size] in evaluation mode."""
  variables = {'params': weights.params, **weights.stats}
  return jnp.asarray(gan.generator.apply(variables, latents, labels, train=False))


def logits(gan: Gan, weights: Weights, images: Array, labels: Array | None = None) -> Array:
  """Returns D's logits [n] of `images` [n, ...], not augmented, in evaluation mode."""
  variables = {'params': weights.params, **weights.stats}
  return jnp.asarray(gan.discriminator.apply(variables, images, labels, train=False))
