"""What a run's own D says of fresh data and samples: the numbers that people watch, and that prove nothing."""

import jax
import jax.numpy as jnp

from gan_jax.data.device_batches import BatchFn, DeviceData
from gan_jax.evaluation import sampling
from gan_jax.gan import gan as gan_lib
from gan_jax.gan import updates
from gan_jax.gan.gan import Gan, GanState

N_EXAMPLES = 2000  # held-out examples, and samples


def discriminator_metrics(
  gan: Gan, state: GanState, feed: BatchFn, data: DeviceData, seed: int
) -> dict[str, dict[str, float]]:
  """D's loss and its mean beliefs on held-out data and on 'raw' and 'ema' samples, in evaluation mode.

  `feed` makes the examples from `data.held_out`. Where D is undecided, D(x) = 1/2, a loss has the
  value that `undecided` gives.
  """
  data = data if gan.n_classes else data.without_labels()
  key = jax.random.fold_in(jax.random.key(seed), sampling.SAMPLING_STREAM)
  batch = jax.jit(feed)(key, jnp.arange(N_EXAMPLES, dtype=jnp.uint32), data.held_out)
  latents = sampling.fixed_latents(gan.latent, seed, N_EXAMPLES)
  look = jax.jit(lambda examples: gan_lib.logits(gan, state.d.weights, examples, batch.labels))
  make = jax.jit(lambda weights: gan_lib.sample(gan, weights, latents, batch.labels))
  real = look(batch.images)
  found = {}
  for which in ('raw', 'ema'):
    fake = look(make(sampling.generator_weights(state, which)))
    beliefs = updates.mean_probabilities(gan, real, fake)
    found[which] = {'d_loss': float(gan.loss.discriminator(real, fake))}
    found[which] |= {name: float(beliefs[name]) for name in ('d_real', 'd_fake')}
  return found


def equilibrium_loss(gan: Gan) -> float:
  """D's loss where it gives every example the same odds."""
  output = jnp.full(1, gan.loss.equilibrium_output)
  return float(gan.loss.discriminator(output, output))


def discriminator_line(gan: Gan, found: dict[str, dict[str, float]]) -> str:
  """The same for a person."""
  seen = found['raw']
  return (
    f'its own D, which may be wrong: mean D(x) {seen["d_real"]:.3f} and D(G(z)) {seen["d_fake"]:.3f} '
    f'(undecided: 0.5), loss {seen["d_loss"]:.3f} (undecided: {equilibrium_loss(gan):.3f})'
  )
