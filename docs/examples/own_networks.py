"""Trains a GAN with networks of your own on a ring of eight Gaussians."""

import flax.linen as nn
import jax
import optax

import gan_jax


class Generator(nn.Module):
  @nn.compact
  def __call__(self, z, labels=None, *, train=False, axis_name=None):
    for width in (128, 128):
      z = nn.relu(nn.Dense(width)(z))
    return nn.Dense(2)(z)


class Discriminator(nn.Module):
  @nn.compact
  def __call__(self, x, labels=None, *, train=False, axis_name=None):
    for width in (128, 128):
      x = nn.leaky_relu(nn.Dense(width)(x), 0.2)
    return nn.Dense(1)(x)[:, 0]


adam = optax.adam(1e-3, b1=0.5)
loss, latent = gan_jax.LOSSES['non_saturating'], gan_jax.Latent('normal', 2)
gan = gan_jax.Gan(Generator(), Discriminator(), adam, adam, loss, latent)
draw = jax.jit(jax.vmap(gan_jax.SYNTHETIC['ring'].sample))
step = jax.jit(lambda key, state, batch: gan_jax.step(gan, key, state, batch))

key = jax.random.key(0)
state = gan_jax.init(gan, key, draw(jax.random.split(key, 1)))
for i in range(200):
  data_key, step_key = jax.random.split(jax.random.fold_in(key, i))
  batch = gan_jax.Batch(draw(jax.random.split(data_key, 256)))
  state, metrics = step(step_key, state, batch)
print({name: round(float(value), 3) for name, value in metrics.items()})
