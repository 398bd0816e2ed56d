"""Trains on images of your own: an array in memory, visited once per epoch in a shuffled order."""

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax

# Any uint8 array [n, h, w, c]; here 500 squares of random size and position.
rng = np.random.default_rng(0)
images = np.zeros((500, 16, 16, 1), np.uint8)
for image in images:
  y, x, size = rng.integers(0, 10), rng.integers(0, 10), rng.integers(3, 6)
  image[y : y + size, x : x + size] = 255

config = gan_jax.Config(g_width=64, d_width=16, batch_size=50, g_lr=1e-3, d_lr=1e-3)
gan = gan_jax.build_gan(config, images.shape[1:], n=len(images), mean_image=images.mean(0) / 255)
data = jnp.asarray(images)


@jax.jit
def step(key, state):
  positions = state.d.count * config.batch_size + jnp.arange(config.batch_size)
  rows = gan_jax.shuffled_indices(jax.random.fold_in(key, 0), positions, len(data))
  batch = gan_jax.Batch(data[rows] / 127.5 - 1)
  return gan_jax.step(gan, jax.random.fold_in(key, 1 + state.step), state, batch)


key = jax.random.key(0)
state = gan_jax.init(gan, key, data[:1])
for _ in range(50):
  state, metrics = step(key, state)
latents = gan_jax.sample_latents(gan.latent, jax.random.split(key, 4))
print(gan_jax.sample(gan, state.g_ema, latents).shape, f'D {metrics["d_loss"]:.3f}')
