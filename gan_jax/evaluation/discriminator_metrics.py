"""Measures a run's discriminator on held-out data and on samples; its loss alone does not prove G good."""

import jax
import jax.numpy as jnp

from gan_jax.data.device_batches import BatchFn, DeviceData
from gan_jax.evaluation import sampling
from gan_jax.gan import gan as gan_lib, player_updates
from gan_jax.gan.gan import Gan, GanState

N_EXAMPLES = 2000  # of held-out data, and of samples


def discriminator_metrics(
  gan: Gan, state: GanState, batch_fn: BatchFn, data: DeviceData, seed: int
) -> dict[str, dict[str, float]]:
  """Returns D's loss, mean D(x) and mean D(G(z)), in evaluation mode, for 'raw' and for 'ema' samples.

  `batch_fn` makes the held-out examples from `data.held_out`; `seed` is that of examples and latents.
  """
  data = data if gan.n_classes else data.without_labels()
  key = jax.random.fold_in(jax.random.key(seed), sampling.SAMPLING_STREAM)
  batch = jax.jit(batch_fn)(key, jnp.arange(N_EXAMPLES, dtype=jnp.uint32), data.held_out)
  latents = sampling.fixed_latents(gan.latent, seed, N_EXAMPLES)
  logits = jax.jit(lambda examples: gan_lib.logits(gan, state.d.weights, examples, batch.labels))
  generate = jax.jit(lambda weights: gan_lib.sample(gan, weights, latents, batch.labels))
  real = logits(batch.images)
  metrics = {}
  for which in ('raw', 'ema'):
    fake = logits(generate(sampling.generator_weights(state, which)))
    probabilities = player_updates.mean_probabilities(gan, real, fake)
    metrics[which] = {'d_loss': float(gan.loss.discriminator(real, fake))}
    metrics[which] |= {name: float(probabilities[name]) for name in ('d_real', 'd_fake')}
  return metrics


def equilibrium_loss(gan: Gan) -> float:
  """Returns D's loss at the equilibrium, where D(x) = 1/2 everywhere."""
  output = jnp.full(1, gan.loss.equilibrium_output)
  return float(gan.loss.discriminator(output, output))


def discriminator_line(gan: Gan, metrics: dict[str, dict[str, float]]) -> str:
  """Formats the 'raw' part of `discriminator_metrics`, beside the values at the equilibrium."""
  raw = metrics['raw']
  return (
    f"the run's own D on held-out data: mean D(x) {raw['d_real']:.3f} and D(G(z)) {raw['d_fake']:.3f} "
    f'(at equilibrium 0.5), loss {raw["d_loss"]:.3f} (at equilibrium {equilibrium_loss(gan):.3f})'
  )
