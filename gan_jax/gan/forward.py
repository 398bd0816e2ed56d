"""Runs G and D in training mode: batch statistics, dropout, augmentation and penalties included."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from gan_jax.data.device_batches import Batch
from gan_jax.distributed.randomness import BatchAxis, example_keys, gather_weights
from gan_jax.gan import augment
from gan_jax.gan.gan import Gan, GanState, PyTree, Weights
from gan_jax.gan.latents import sample_latents
from gan_jax.gan.penalties import total_penalty


def generate(
  gan: Gan, weights: Weights, key: Array, batch: Batch, axis_name: BatchAxis
) -> tuple[Array, PyTree]:
  """Generates one fake per example of `batch`, with the same label, in training mode.

  Returns the fakes [n, ...] and G's new batch statistics; `key` draws the latents.
  """
  latents = sample_latents(gan.latent, example_keys(key, batch.images.shape[0], axis_name))
  variables = {'params': gather_weights(weights.params, axis_name), **weights.stats}
  return gan.generator.apply(
    variables, latents, batch.labels, train=True, axis_name=axis_name, mutable=list(weights.stats)
  )


def apply_discriminator(
  gan: Gan, state: GanState, weights: Weights, key: Array, batch: Batch, axis_name: BatchAxis
) -> tuple[Array, PyTree]:
  """Returns D's logits [n] of the augmented `batch` in training mode, and D's new batch statistics.

  `weights` are D's variables, `key` is for augmentation and dropout; `state` gives only the step and the
  augmentation's probability.
  """
  variables = {'params': gather_weights(weights.params, axis_name), **weights.stats}
  images = augment_inputs(gan, state, key, batch.images, axis_name)
  options: dict[str, Any] = {'mutable': list(weights.stats), 'rngs': {'dropout': key}}
  return gan.discriminator.apply(
    variables, images, batch.labels, train=True, axis_name=axis_name, **options
  )


def augment_inputs(
  gan: Gan, state: GanState, key: Array, images: Array, axis_name: BatchAxis
) -> Array:
  """Applies the augmentation of `gan`, then instance noise, to D's inputs `images` [n, ...]."""
  if gan.augment == 'none' and gan.noise is None:
    return images
  keys = example_keys(jax.random.fold_in(key, 2), images.shape[0], axis_name)
  if gan.augment != 'none':
    p = gan.augment_p if gan.ada is None else state.controls['augment'].p
    images = augment.augment_images(gan.augment, keys, images, p)
  if gan.noise is not None:
    # A number that no augmentation's split reaches: fold_in(key, i) is the i-th key of a split.
    noise_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1 << 16))(keys)
    images = augment.instance_noise(noise_keys, images, gan.noise(state.step))
  return images


def discriminate(
  gan: Gan, state: GanState, d: Weights, key: Array, batch: Batch, fakes: Array, axis: BatchAxis
) -> tuple[tuple[Array, Array], PyTree]:
  """Returns D's logits (real [n], fake [n]) by `apply_discriminator`, and D's new batch statistics.

  `d` are D's variables; the real images are those of `batch`, and `fakes` [n, ...] have the same labels.
  """
  real_key, fake_key = jax.random.split(key)
  real, stats = apply_discriminator(gan, state, d, real_key, batch, axis)
  d, batch = d.replace(stats=stats), batch._replace(images=fakes)
  fake, stats = apply_discriminator(gan, state, d, fake_key, batch, axis)
  return (real, fake), stats


def penalty_value(
  gan: Gan, state: GanState, params: PyTree, key: Array, batch: Batch, fakes: Array, axis: BatchAxis
) -> Array:
  """Returns the scaled sum of the penalties on a D with parameters `params`, a scalar.

  With the `key` of `discriminate`, the augmentation and dropout are those of its real images.
  """
  if not gan.penalties:
    return jnp.zeros(())
  # The same key as in `discriminate`, so that the compiler computes that forward pass only once.
  real_key, _ = jax.random.split(key)
  weights = Weights(params, state.d.stats)

  def critic(images: Array) -> Array:
    inputs = batch._replace(images=images)
    return apply_discriminator(gan, state, weights, real_key, inputs, axis)[0]

  keys = example_keys(jax.random.fold_in(key, 1), fakes.shape[0], axis)
  value = total_penalty(gan.penalties, critic, batch.images, fakes, keys, state.d.count, axis)
  return value if gan.penalty_scale is None else gan.penalty_scale(state.step) * value
