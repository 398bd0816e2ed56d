"""Runs one training step under jit, under pmap over devices, and under vmap over seeds."""

import functools

import jax
import jax.numpy as jnp

import gan_jax

config = gan_jax.Config(dataset='ring', network='relu', latent_size=2, latent='normal', r1=0.1)
ring = gan_jax.SYNTHETIC['ring']
gan = gan_jax.build_gan(config, ring.shape, n=None)
key = jax.random.key(0)
images = jax.vmap(ring.sample)(jax.random.split(key, 64))
init = lambda key: gan_jax.init(gan, key, images)
state = init(key)

# One device.
step = functools.partial(gan_jax.step, gan)
on_one, metrics = jax.jit(step)(key, state, gan_jax.Batch(images))

# All devices: each gets its share of the batch; key and state go in and come out without a device axis.
n = jax.local_device_count()
shares = gan_jax.Batch(images.reshape(n, 64 // n, 2))
on_all = jax.pmap(
  functools.partial(step, axis_name='data'), 'data', in_axes=(None, None, 0), out_axes=None
)(key, state, shares)[0]
difference = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), on_one.g.params, on_all.g.params)
print(f'{n} devices against one: {max(jax.tree.leaves(difference)):.1e}')

# Eight seeds side by side.
keys = jax.vmap(jax.random.key)(jnp.arange(8))
states = jax.jit(jax.vmap(init))(keys)
step_seeds = jax.jit(jax.vmap(step, in_axes=(0, 0, None)))
states, metrics = step_seeds(keys, states, gan_jax.Batch(images))
print('D losses of 8 seeds:', metrics['d_loss'].round(3))
