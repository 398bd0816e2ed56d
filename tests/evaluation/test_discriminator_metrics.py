import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.data import device_batches
from gan_jax.data.device_batches import DeviceData, Images
from gan_jax.evaluation import discriminator_metrics, sampling
from tests.helpers.tiny_gan import tiny_gan


def dirac(psi, loss='non_saturating'):
  """Returns a GAN with D(x) = psi x whose samples are all theta."""
  gan, _, state = tiny_gan(loss, shape=(1,), network='dirac')
  d = state.d.replace(params={'psi': jnp.full(1, psi, jnp.float32)})
  return gan, state.replace(d=d)


def constant_batches(x):
  return device_batches.synthetic_batches(lambda key: jnp.full(1, x))


def test_a_constant_discriminator_has_probability_one_half_and_the_equilibrium_loss():
  gan, state = dirac(0.0)
  for metrics in discriminator_metrics.discriminator_metrics(
    gan, state, constant_batches(3.0), DeviceData(()), 0
  ).values():
    assert metrics['d_real'] == metrics['d_fake'] == 0.5
    assert (
      metrics['d_loss']
      == pytest.approx(2 * np.log(2))
      == discriminator_metrics.equilibrium_loss(gan)
    )


def test_metrics_are_of_held_out_data_and_of_both_sets_of_weights():
  gan, state = dirac(1.0)
  g_ema = jax.tree.map(lambda x: x + 5.0, state.g_ema)
  metrics = discriminator_metrics.discriminator_metrics(
    gan, state.replace(g_ema=g_ema), constant_batches(2.0), DeviceData(()), 0
  )
  (theta,) = {
    float(x) for x in sampling.generate_samples(gan, state.g.weights, jnp.zeros((1, 1))).ravel()
  }
  sigmoid = lambda x: 1 / (1 + np.exp(-x))
  for which, fake in (('raw', theta), ('ema', theta + 5.0)):
    assert metrics[which]['d_real'] == pytest.approx(sigmoid(2.0), rel=1e-5)
    assert metrics[which]['d_fake'] == pytest.approx(sigmoid(fake), rel=1e-5)
    loss = -np.log(sigmoid(2.0)) - np.log(1 - sigmoid(fake))
    assert metrics[which]['d_loss'] == pytest.approx(loss, rel=1e-5)
  assert f'D(x) {sigmoid(2.0):.3f}' in discriminator_metrics.discriminator_line(gan, metrics)


def test_training_images_do_not_matter():
  gan, _, state = tiny_gan('hinge', shape=(4, 4, 1))
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (30, 4, 4, 1), np.uint8)
  results = [
    discriminator_metrics.discriminator_metrics(
      gan, state, device_batches.image_batches(), DeviceData(Images(train), Images(images)), 0
    )
    for train in (images[:3], images[3:])
  ]
  assert results[0] == results[1]
