"""A GAN as two pure networks, two losses, two optimizers, and the update of either player."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from gan_jax.data.shuffle import Batch
from gan_jax.distributed.randomness import Axis, example_keys, gathered
from gan_jax.gan import augment, penalties
from gan_jax.gan.augment import adaptive
from gan_jax.gan.gradient_accumulation import mean_over_parts, pmean
from gan_jax.gan.latents import Latent
from gan_jax.gan.latents import sample as sample_latents
from gan_jax.gan.losses import Loss
from gan_jax.gan.optimizers import Schedule
from gan_jax.gan.penalties import Penalty
from gan_jax.gan.player import Player, PyTree, Weights, descend
from gan_jax.gan.update_ratio import Balance
from gan_jax.gan.weight_constraints import Projection

Metrics = dict[str, jax.Array]


class Gan(NamedTuple):
  """What training never changes."""

  generator: nn.Module
  discriminator: nn.Module
  g_tx: optax.GradientTransformation
  d_tx: optax.GradientTransformation
  loss: Loss
  latent: Latent
  g_rate: Schedule  # learning rates, by the step
  d_rate: Schedule
  ema_decay: float | jax.Array = 0.999
  penalties: tuple[Penalty, ...] = ()  # added to D's loss
  penalty_scale: Schedule | None = None  # factor on all of them, by the step; None for 1
  consensus: float | jax.Array = 0.0  # weight of 1/2 |v|^2, v the gradients of both players
  unroll: int = 0  # updates of D that G looks ahead
  g_project: Projection | None = None  # what happens to weights after each update
  d_project: Projection | None = None
  augment: str = 'none'  # what D sees instead of images, by its name in AUGMENTATIONS
  augment_p: float | jax.Array = (
    1.0  # the probability of it, where no `ada` adapts it to E sign D(x)
  )
  ada: Callable[[adaptive.Controls, jax.Array], adaptive.Controls] | None = None
  noise: Callable[[jax.Array], jax.Array] | None = None  # std of instance noise, by G's updates
  balance: Balance | None = None  # what chooses k while training; None for a fixed k
  n_classes: int = 0  # 0 for unconditional networks
  accumulate: int = 1  # parts of a device's batch that come one after another
  contrast: float = 0.0  # the scale of contrast-normalised images; 0 for images in [-1, 1]


class GanState(flax.struct.PyTreeNode):
  """Exactly what a checkpoint holds."""

  step: jax.Array  # steps so far, each with one generator update, int32
  g: Player
  d: Player
  g_ema: Weights
  controls: dict[str, PyTree]  # what controllers adjust while training; {} where nothing does


def init(gan: Gan, key: jax.Array, images: jax.Array) -> GanState:
  """A state before its first update; `images` [n, ...] give only their shape."""
  g_key, d_key, z_key = jax.random.split(key, 3)
  labels = jnp.zeros(1, jnp.int32) if gan.n_classes else None
  latents = sample_latents(gan.latent, z_key[None])
  g = _init_player(gan.generator, gan.g_tx, g_key, latents, labels)
  d = _init_player(gan.discriminator, gan.d_tx, d_key, images[:1], labels)
  controls: dict[str, PyTree] = {}
  if gan.ada is not None:
    controls['augment'] = adaptive.init()
  if gan.balance is not None:
    controls['k'] = gan.balance.start()
  # A copy: a donated state must not hold one buffer twice.
  return GanState(jnp.zeros((), jnp.int32), g, d, jax.tree.map(jnp.copy, g.weights), controls)


def _init_player(
  network: nn.Module,
  tx: optax.GradientTransformation,
  key: jax.Array,
  inputs: jax.Array,
  labels: jax.Array | None,
) -> Player:
  stats, params = flax.core.pop(network.init(key, inputs, labels, train=False), 'params')
  return Player(params, stats, tx.init(params), jnp.zeros((), jnp.int32))


def generate(
  gan: Gan,
  params: PyTree,
  stats: PyTree,
  key: jax.Array,
  batch: Batch,
  axis_name: Axis,
) -> tuple[jax.Array, PyTree]:
  """As many fakes [n, ...] as `batch` has images, with its labels, in training mode; G's new statistics."""
  latents = sample_latents(gan.latent, example_keys(key, batch.images.shape[0], axis_name))
  return gan.generator.apply(
    {'params': gathered(params, axis_name), **stats},
    latents,
    batch.labels,
    train=True,
    axis_name=axis_name,
    mutable=list(stats),
  )


def judge(
  gan: Gan,
  state: GanState,
  params: PyTree,
  stats: PyTree,
  key: jax.Array,
  batch: Batch,
  axis_name: Axis,
) -> tuple[jax.Array, PyTree]:
  """Logits [n] of a batch as D sees it while it learns, and D's new statistics."""
  return gan.discriminator.apply(
    {'params': gathered(params, axis_name), **stats},
    look(gan, state, key, batch.images, axis_name),
    batch.labels,
    train=True,
    axis_name=axis_name,
    mutable=list(stats),
    rngs={'dropout': key},
  )


def look(
  gan: Gan, state: GanState, key: jax.Array, images: jax.Array, axis_name: Axis
) -> jax.Array:
  """What D is shown of `images` [n, ...]: augmented, and under instance noise."""
  if gan.augment == 'none' and gan.noise is None:
    return images
  keys = example_keys(jax.random.fold_in(key, 2), images.shape[0], axis_name)
  if gan.augment != 'none':
    p = gan.augment_p if gan.ada is None else state.controls['augment'].p
    images = augment.augment(gan.augment, keys, images, p)
  if gan.noise is not None:
    # A number that no augmentation's split reaches: fold_in(key, i) is the i-th key of a split.
    noise_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1 << 16))(keys)
    images = augment.instance_noise(noise_keys, images, gan.noise(state.step))
  return images


def discriminate(
  gan: Gan,
  state: GanState,
  params: PyTree,
  stats: PyTree,
  key: jax.Array,
  batch: Batch,
  fakes: jax.Array,
  axis_name: Axis,
) -> tuple[tuple[jax.Array, jax.Array], PyTree]:
  """Logits (real [n], fake [n]) in training mode, and the discriminator's new statistics."""
  real_key, fake_key = jax.random.split(key)
  real, stats = judge(gan, state, params, stats, real_key, batch, axis_name)
  fake, stats = judge(gan, state, params, stats, fake_key, batch._replace(images=fakes), axis_name)
  return (real, fake), stats


def penalize(
  gan: Gan,
  state: GanState,
  params: PyTree,
  key: jax.Array,
  batch: Batch,
  fakes: jax.Array,
  axis_name: Axis,
) -> jax.Array:
  """The penalties on D, scalar; they see D as the real images do, through the same dropout mask."""
  if not gan.penalties:
    return jnp.zeros(())
  # The same key as in `discriminate`, so that the compiler computes that forward pass only once.
  real_key, _ = jax.random.split(key)

  def critic(images: jax.Array) -> jax.Array:
    seen = batch._replace(images=images)
    return judge(gan, state, params, state.d.stats, real_key, seen, axis_name)[0]

  keys = example_keys(jax.random.fold_in(key, 1), fakes.shape[0], axis_name)
  value = penalties.total(
    gan.penalties, critic, batch.images, fakes, keys, state.d.count, axis_name
  )
  return value if gan.penalty_scale is None else gan.penalty_scale(state.step) * value


def discriminator_loss(
  gan: Gan,
  state: GanState,
  params: PyTree,
  key: jax.Array,
  batch: Batch,
  fakes: jax.Array,
  axis_name: Axis,
) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
  """What D descends on a batch and as many fakes, with its new statistics and its metrics."""
  (real, fake), stats = discriminate(
    gan, state, params, state.d.stats, key, batch, fakes, axis_name
  )
  loss = gan.loss.discriminator(real, fake)
  penalty = penalize(gan, state, params, key, batch, fakes, axis_name)
  return loss + penalty, (stats, {'d_loss': loss, 'd_penalty': penalty, **beliefs(gan, real, fake)})


def update_discriminator(
  gan: Gan, key: jax.Array, state: GanState, batch: Batch, *, axis_name: Axis = None
) -> tuple[GanState, Metrics]:
  """One descent step of the discriminator on a batch of n; the generator stands still."""
  z_key, d_key = jax.random.split(key)

  def gradients(batch: Batch, axis: Axis) -> tuple[PyTree, tuple[PyTree, Metrics]]:
    fakes, _ = generate(gan, state.g.params, state.g.stats, z_key, batch, axis)
    return jax.grad(
      lambda params: discriminator_loss(gan, state, params, d_key, batch, fakes, axis), has_aux=True
    )(state.d.params)

  found = mean_over_parts(gradients, batch, gan.accumulate, axis_name)
  grads, (stats, metrics) = pmean(found, axis_name)
  return advance_discriminator(gan, state, grads, stats, metrics), metrics


def update_generator(
  gan: Gan, key: jax.Array, state: GanState, batch: Batch, *, axis_name: Axis = None
) -> tuple[GanState, Metrics]:
  """One descent step of the generator, and of its moving average; the discriminator stands still.

  The batch gives its size, its labels, and its logits to losses that compare real with fake.
  """
  z_key, d_key = jax.random.split(key)

  def gradients(batch: Batch, axis: Axis) -> tuple[tuple[jax.Array, PyTree], PyTree]:
    def loss_fn(params: PyTree) -> tuple[jax.Array, PyTree]:
      fakes, stats = generate(gan, params, state.g.stats, z_key, batch, axis)
      d = foresee(gan, d_key, state, batch, fakes, axis)
      (real, fake), _ = discriminate(gan, state, d.params, d.stats, d_key, batch, fakes, axis)
      return gan.loss.generator(real, fake), stats

    return jax.value_and_grad(loss_fn, has_aux=True)(state.g.params)

  found = mean_over_parts(gradients, batch, gan.accumulate, axis_name)
  (loss, stats), grads = pmean(found, axis_name)
  return advance_generator(gan, state, grads, stats), {'g_loss': loss}


def foresee(
  gan: Gan,
  key: jax.Array,
  state: GanState,
  batch: Batch,
  fakes: jax.Array,
  axis_name: Axis,
) -> Player:
  """D after `gan.unroll` more updates against these fakes, as a function of them (Metz et al., 2017)."""

  def ahead(player: Player, _: Any) -> tuple[Player, None]:
    there = state.replace(d=player)
    grads, (stats, _) = jax.grad(
      lambda params: discriminator_loss(gan, there, params, key, batch, fakes, axis_name),
      has_aux=True,
    )(player.params)
    grads, stats = pmean((grads, stats), axis_name)
    rate = gan.d_rate(state.step)
    return descend(gan.d_tx, rate, player, grads, stats, gan.d_project), None

  return lax.scan(ahead, state.d, length=gan.unroll)[0] if gan.unroll else state.d


def beliefs(gan: Gan, real: jax.Array, fake: jax.Array) -> Metrics:
  """Mean D(x) and mean D(G(z)), the probabilities that D gives to data and samples; E sign of D(x) - 1/2."""
  real, fake = gan.loss.log_odds(real, fake)
  return {
    'd_real': jnp.mean(jax.nn.sigmoid(real)),
    'd_fake': jnp.mean(jax.nn.sigmoid(fake)),
    'd_sign': jnp.mean(jnp.sign(real)),
  }


def advance_discriminator(
  gan: Gan, state: GanState, grads: PyTree, stats: PyTree, metrics: Metrics
) -> GanState:
  """The state with D one update further, and with what controls its augmentation."""
  controls = state.controls
  if gan.ada is not None:
    controls = controls | {'augment': gan.ada(controls['augment'], metrics['d_sign'])}
  d = descend(gan.d_tx, gan.d_rate(state.step), state.d, grads, stats, gan.d_project)
  return state.replace(d=d, controls=controls)


def advance_generator(gan: Gan, state: GanState, grads: PyTree, stats: PyTree) -> GanState:
  """The state with G one update further: its average follows, and the step is counted.

  The decay rises to its value as (1 + t) / (10 + t), so that the average forgets the random start.
  """
  g = descend(gan.g_tx, gan.g_rate(state.step), state.g, grads, stats, gan.g_project)
  t = state.step.astype(jnp.float32)
  decay = jnp.minimum(gan.ema_decay, (1 + t) / (10 + t))
  g_ema = optax.incremental_update(g.weights, state.g_ema, 1 - decay)
  return state.replace(step=state.step + 1, g=g, g_ema=g_ema)


def sample(
  gan: Gan, weights: Weights, latents: jax.Array, labels: jax.Array | None = None
) -> jax.Array:
  """Images [n, ...] in [-1, 1] for `latents` [n, size], in evaluation mode."""
  variables = {'params': weights.params, **weights.stats}
  return jnp.asarray(gan.generator.apply(variables, latents, labels, train=False))


def logits(
  gan: Gan, weights: Weights, images: jax.Array, labels: jax.Array | None = None
) -> jax.Array:
  """D's logits [n] of `images` [n, ...] as they are, in evaluation mode."""
  variables = {'params': weights.params, **weights.stats}
  return jnp.asarray(gan.discriminator.apply(variables, images, labels, train=False))
