"""A GAN as two pure networks, two losses, two optimizers and one pure step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from gan_jax.latents import Latent
from gan_jax.latents import sample as sample_latents
from gan_jax.losses import Loss
from gan_jax.penalties import Penalty
from gan_jax.randomness import example_keys

PyTree = Any
Metrics = dict[str, jax.Array]


class Gan(NamedTuple):
  """What training never changes."""

  generator: nn.Module
  discriminator: nn.Module
  g_tx: optax.GradientTransformation
  d_tx: optax.GradientTransformation
  loss: Loss
  penalty: Penalty | None  # added to D's loss
  latent: Latent
  ema_decay: float


class Player(flax.struct.PyTreeNode):
  """One network's variables and its optimizer's state."""

  params: PyTree
  stats: PyTree  # collections besides 'params', such as batch statistics; {} where there are none
  opt_state: optax.OptState


class GanState(flax.struct.PyTreeNode):
  """Exactly what a checkpoint holds."""

  step: jax.Array  # generator updates so far, int32
  g: Player
  d: Player
  g_ema: PyTree


def init(gan: Gan, key: jax.Array, images: jax.Array) -> GanState:
  """A state before its first update; `images` [n, h, w, c] give only their shape."""
  g_key, d_key, z_key = jax.random.split(key, 3)
  latents = sample_latents(gan.latent, z_key[None])
  g = _init_player(gan.generator, gan.g_tx, g_key, latents)
  d = _init_player(gan.discriminator, gan.d_tx, d_key, images[:1])
  # A copy: a donated state must not hold one buffer twice.
  return GanState(jnp.zeros((), jnp.int32), g, d, jax.tree.map(jnp.copy, g.params))


def _init_player(
  network: nn.Module, tx: optax.GradientTransformation, key: jax.Array, inputs: jax.Array
) -> Player:
  stats, params = flax.core.pop(network.init(key, inputs, train=False), 'params')
  return Player(params, stats, tx.init(params))


def generate(
  gan: Gan, params: PyTree, stats: PyTree, key: jax.Array, n: int, axis_name: str | None
) -> tuple[jax.Array, PyTree]:
  """This device's n fakes [n, ...] in training mode, and the generator's new statistics."""
  latents = sample_latents(gan.latent, example_keys(key, n, axis_name))
  return gan.generator.apply(
    {'params': params, **stats}, latents, train=True, axis_name=axis_name, mutable=list(stats)
  )


def judge(
  gan: Gan, params: PyTree, stats: PyTree, key: jax.Array, images: jax.Array, axis_name: str | None
) -> tuple[jax.Array, PyTree]:
  """Logits [n] of `images` in training mode, and the discriminator's new statistics."""
  return gan.discriminator.apply(
    {'params': params, **stats},
    images,
    train=True,
    axis_name=axis_name,
    mutable=list(stats),
    rngs={'dropout': key},
  )


def discriminate(
  gan: Gan,
  params: PyTree,
  stats: PyTree,
  key: jax.Array,
  images: jax.Array,
  fakes: jax.Array,
  axis_name: str | None,
) -> tuple[tuple[jax.Array, jax.Array], PyTree]:
  """Logits (real [n], fake [n]) in training mode, and the discriminator's new statistics."""
  real_key, fake_key = jax.random.split(key)
  real, stats = judge(gan, params, stats, real_key, images, axis_name)
  fake, stats = judge(gan, params, stats, fake_key, fakes, axis_name)
  return (real, fake), stats


def penalize(
  gan: Gan,
  params: PyTree,
  stats: PyTree,
  key: jax.Array,
  images: jax.Array,
  fakes: jax.Array,
  axis_name: str | None,
) -> jax.Array:
  """The penalty on D, scalar; it sees D through the dropout mask of the real images."""
  if gan.penalty is None:
    return jnp.zeros(())
  # The same key as in `discriminate`, so that the compiler computes that forward pass only once.
  real_key, _ = jax.random.split(key)

  def critic(x: jax.Array) -> jax.Array:
    return judge(gan, params, stats, real_key, x, axis_name)[0]

  return gan.penalty(critic, images, fakes, jax.random.fold_in(key, 1))


def update_discriminator(
  gan: Gan, key: jax.Array, state: GanState, images: jax.Array, *, axis_name: str | None = None
) -> tuple[GanState, Metrics]:
  """One descent step of the discriminator on `images` [n, h, w, c]; the generator stands still."""
  z_key, dropout_key = jax.random.split(key)
  fakes, _ = generate(gan, state.g.params, state.g.stats, z_key, images.shape[0], axis_name)

  def loss_fn(params: PyTree) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
    (real, fake), stats = discriminate(
      gan, params, state.d.stats, dropout_key, images, fakes, axis_name
    )
    loss = gan.loss.discriminator(real, fake)
    penalty = penalize(gan, params, state.d.stats, dropout_key, images, fakes, axis_name)
    metrics = {'d_loss': loss, 'd_penalty': penalty, **beliefs(real, fake)}
    return loss + penalty, (stats, metrics)

  grads, (stats, metrics) = jax.grad(loss_fn, has_aux=True)(state.d.params)
  grads, stats, metrics = pmean((grads, stats, metrics), axis_name)
  return state.replace(d=descend(gan.d_tx, state.d, grads, stats)), metrics


def update_generator(
  gan: Gan, key: jax.Array, state: GanState, images: jax.Array, *, axis_name: str | None = None
) -> tuple[GanState, Metrics]:
  """One descent step of the generator, and of its moving average; the discriminator stands still.

  `images` [n, h, w, c] give the batch size, and their logits to losses that compare real with fake.
  """
  z_key, dropout_key = jax.random.split(key)

  def loss_fn(params: PyTree) -> tuple[jax.Array, PyTree]:
    fakes, stats = generate(gan, params, state.g.stats, z_key, images.shape[0], axis_name)
    (real, fake), _ = discriminate(
      gan, state.d.params, state.d.stats, dropout_key, images, fakes, axis_name
    )
    return gan.loss.generator(real, fake), stats

  (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.g.params)
  grads, stats, loss = pmean((grads, stats, loss), axis_name)
  return advance(gan, state, descend(gan.g_tx, state.g, grads, stats)), {'g_loss': loss}


def alternating_step(
  gan: Gan,
  key: jax.Array,
  state: GanState,
  images: jax.Array,
  k: int | jax.Array | None = None,
  *,
  axis_name: str | None = None,
) -> tuple[GanState, Metrics]:
  """Algorithm 1 of Goodfellow et al. (2014): k discriminator updates, then one generator update.

  `images` [k_max, n, h, w, c] hold a minibatch for each discriminator update. `k` in 1..k_max, all by
  default, may be traced: the loop stops after k, and update i draws the same noise whatever k is.
  """
  d_key, g_key = jax.random.split(key)

  def update(i: int | jax.Array, state: GanState) -> tuple[GanState, Metrics]:
    i_key = jax.random.fold_in(d_key, i)
    return update_discriminator(gan, i_key, state, images[i], axis_name=axis_name)

  if images.shape[0] == 1:
    state, d_metrics = update(0, state)
  else:
    unseen = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(update, 0, state)[1]
    )
    stop = images.shape[0] if k is None else k
    state, d_metrics = lax.fori_loop(0, stop, lambda i, carry: update(i, carry[0]), (state, unseen))
  state, g_metrics = update_generator(gan, g_key, state, images[0], axis_name=axis_name)
  return state, d_metrics | g_metrics


def simultaneous_step(
  gan: Gan,
  key: jax.Array,
  state: GanState,
  images: jax.Array,
  k: int | jax.Array | None = None,
  *,
  axis_name: str | None = None,
) -> tuple[GanState, Metrics]:
  """One update of both players from one forward pass, as in the code released with the 2014 paper.

  Both objectives see the same fakes through the same dropout mask, and neither sees the other's
  update. `images` [1, n, h, w, c]; there is no k here.
  """
  del k
  z_key, dropout_key = jax.random.split(key)
  n = images.shape[1]
  fakes, g_pullback, g_stats = jax.vjp(
    lambda params: generate(gan, params, state.g.stats, z_key, n, axis_name),
    state.g.params,
    has_aux=True,
  )
  (real, fake), d_pullback, d_stats = jax.vjp(
    lambda params, fakes: discriminate(
      gan, params, state.d.stats, dropout_key, images[0], fakes, axis_name
    ),
    state.d.params,
    fakes,
    has_aux=True,
  )
  both = (0, 1)
  d_loss, d_cotangents = jax.value_and_grad(gan.loss.discriminator, both)(real, fake)
  g_loss, g_cotangents = jax.value_and_grad(gan.loss.generator, both)(real, fake)
  d_grads, _ = d_pullback(d_cotangents)
  (g_grads,) = g_pullback(d_pullback(g_cotangents)[1])
  penalty, penalty_grads = jax.value_and_grad(
    lambda params: penalize(gan, params, state.d.stats, dropout_key, images[0], fakes, axis_name)
  )(state.d.params)
  d_grads = jax.tree.map(jnp.add, d_grads, penalty_grads)
  metrics = {'d_loss': d_loss, 'd_penalty': penalty, 'g_loss': g_loss, **beliefs(real, fake)}
  d_grads, d_stats, g_grads, g_stats, metrics = pmean(
    (d_grads, d_stats, g_grads, g_stats, metrics), axis_name
  )
  state = state.replace(d=descend(gan.d_tx, state.d, d_grads, d_stats))
  return advance(gan, state, descend(gan.g_tx, state.g, g_grads, g_stats)), metrics


def beliefs(real: jax.Array, fake: jax.Array) -> Metrics:
  """Mean D(x) and mean D(G(z)): the probabilities that D gives to data and to samples."""
  return {'d_real': jnp.mean(jax.nn.sigmoid(real)), 'd_fake': jnp.mean(jax.nn.sigmoid(fake))}


def descend(
  tx: optax.GradientTransformation, player: Player, grads: PyTree, stats: PyTree
) -> Player:
  """The player after its optimizer took one step along `grads`."""
  updates, opt_state = tx.update(grads, player.opt_state, player.params)
  return Player(optax.apply_updates(player.params, updates), stats, opt_state)


def advance(gan: Gan, state: GanState, g: Player) -> GanState:
  """The state with the new generator: its average follows, and the step is counted.

  The decay rises to its value as (1 + t) / (10 + t), so that the average forgets the random start.
  """
  t = state.step.astype(jnp.float32)
  decay = jnp.minimum(gan.ema_decay, (1 + t) / (10 + t))
  g_ema = optax.incremental_update(g.params, state.g_ema, 1 - decay)
  return state.replace(step=state.step + 1, g=g, g_ema=g_ema)


def pmean(tree: PyTree, axis_name: str | None) -> PyTree:
  """The mean over devices, in one all-reduce; the tree itself where there is one device."""
  return tree if axis_name is None else lax.pmean(tree, axis_name)


def sample(gan: Gan, params: PyTree, stats: PyTree, latents: jax.Array) -> jax.Array:
  """Images [n, h, w, c] in [-1, 1] for `latents` [n, size], in evaluation mode."""
  return jnp.asarray(gan.generator.apply({'params': params, **stats}, latents, train=False))


StepFn = Callable[..., tuple[GanState, Metrics]]
UPDATES: dict[str, StepFn] = {'alternating': alternating_step, 'simultaneous': simultaneous_step}
