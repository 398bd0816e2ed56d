"""Trains with a loss of your own: D and G minimise functions of D's outputs on data and on samples."""

import jax
import jax.numpy as jnp

import gan_jax


def discriminator_loss(real, fake):
  """Exponential loss: an upper bound of the classification error."""
  return jnp.mean(jnp.exp(-real)) + jnp.mean(jnp.exp(fake))


def generator_loss(real, fake):
  return jnp.mean(jnp.exp(-fake))


config = gan_jax.Config(dataset='ring', network='relu', latent_size=2, latent='normal', r1=0.1)
ring = gan_jax.SYNTHETIC['ring']
gan = gan_jax.build_gan(config, ring.shape, n=None)
gan = gan._replace(loss=gan_jax.Loss(discriminator_loss, generator_loss))

key = jax.random.key(0)
state = gan_jax.init(gan, key, jnp.zeros((1, *ring.shape)))
step = jax.jit(lambda key, state, batch: gan_jax.step(gan, key, state, batch))
for i in range(100):
  data_key, step_key = jax.random.split(jax.random.fold_in(key, i))
  batch = gan_jax.Batch(jax.vmap(ring.sample)(jax.random.split(data_key, 128)))
  state, metrics = step(step_key, state, batch)
print(f'D {metrics["d_loss"]:.3f}  G {metrics["g_loss"]:.3f}')
