import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.data import device_batches
from gan_jax.data.device_batches import DeviceData, Images
from gan_jax.evaluation import held_out_discriminator, sampling
from tests.helpers.tiny_gan import tiny_gan


def dirac(psi, loss='non_saturating'):
  """D(x) = psi x; the samples are at theta."""
  gan, _, state = tiny_gan(loss, shape=(1,), network='dirac')
  d = state.d.replace(params={'psi': jnp.full(1, psi, jnp.float32)})
  return gan, state.replace(d=d)


def at(x):
  return device_batches.synthetic_batches(lambda key: jnp.full(1, x))


def test_an_undecided_discriminator_says_a_half_and_the_loss_of_equilibrium():
  gan, state = dirac(0.0)
  for seen in held_out_discriminator.discriminator_metrics(
    gan, state, at(3.0), DeviceData(()), 0
  ).values():
    assert seen['d_real'] == seen['d_fake'] == 0.5
    assert (
      seen['d_loss'] == pytest.approx(2 * np.log(2)) == held_out_discriminator.equilibrium_loss(gan)
    )


def test_beliefs_are_of_held_out_data_and_of_either_generator():
  gan, state = dirac(1.0)
  g_ema = jax.tree.map(lambda x: x + 5.0, state.g_ema)
  seen = held_out_discriminator.discriminator_metrics(
    gan, state.replace(g_ema=g_ema), at(2.0), DeviceData(()), 0
  )
  (theta,) = {
    float(x) for x in sampling.generate_samples(gan, state.g.weights, jnp.zeros((1, 1))).ravel()
  }
  sigmoid = lambda x: 1 / (1 + np.exp(-x))
  for which, fake in (('raw', theta), ('ema', theta + 5.0)):
    assert seen[which]['d_real'] == pytest.approx(sigmoid(2.0), rel=1e-5)
    assert seen[which]['d_fake'] == pytest.approx(sigmoid(fake), rel=1e-5)
    loss = -np.log(sigmoid(2.0)) - np.log(1 - sigmoid(fake))
    assert seen[which]['d_loss'] == pytest.approx(loss, rel=1e-5)
  assert f'D(x) {sigmoid(2.0):.3f}' in held_out_discriminator.discriminator_line(gan, seen)


def test_training_images_are_not_looked_at():
  gan, _, state = tiny_gan('hinge', shape=(4, 4, 1))
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (30, 4, 4, 1), np.uint8)
  found = [
    held_out_discriminator.discriminator_metrics(
      gan, state, device_batches.image_batches(), DeviceData(Images(train), Images(images)), 0
    )
    for train in (images[:3], images[3:])
  ]
  assert found[0] == found[1]
