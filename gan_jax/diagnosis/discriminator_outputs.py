"""Collects what a run's own discriminator gives to training data, held-out data and samples."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.diagnosis.discriminator_bound import DiscriminatorOutputs
from gan_jax.diagnosis.training_monitors import generator_loss_slope
from gan_jax.evaluation import sampling
from gan_jax.evaluation.tasks import Task
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import Gan, GanState

N_EXAMPLES = 4000  # examples of each set


def collect_discriminator_outputs(
  gan: Gan, state: GanState, task: Task, which: str, seed: int
) -> DiscriminatorOutputs:
  """What D gives to training data, held-out data and samples of 'raw' or 'ema' weights, `N_OUTPUTS` of each."""
  data = task.evaluation_data() if gan.n_classes else task.evaluation_data().without_labels()
  key = jax.random.fold_in(jax.random.key(seed), sampling.SAMPLING_STREAM)
  look = jax.jit(lambda examples, labels: gan_lib.logits(gan, state.d.weights, examples, labels))
  positions = jnp.arange(N_EXAMPLES, dtype=jnp.uint32)
  # No training example twice: its rank among held-out ones would seem surer than it is.
  train = jax.jit(task.train_batch_fn)(key, positions[: task.n_train], data.train)
  held_out = jax.jit(task.held_out_batch_fn)(jax.random.fold_in(key, 1), positions, data.held_out)
  latents = sampling.fixed_latents(gan.latent, seed + 1, N_EXAMPLES)
  make = jax.jit(lambda weights: gan_lib.sample(gan, weights, latents, held_out.labels))
  fake = look(make(sampling.generator_weights(state, which)), held_out.labels)
  real = look(held_out.images, held_out.labels)
  return DiscriminatorOutputs(
    np.asarray(look(train.images, train.labels)),
    np.asarray(real),
    np.asarray(fake),
    float(generator_loss_slope(gan, real, fake)),
  )
