"""Collects what a run's own discriminator gives to training data, held-out data and samples."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.diagnosis.discriminator_bound import Outputs
from gan_jax.diagnosis.training_monitors import slope
from gan_jax.evaluation import sampling
from gan_jax.evaluation.tasks import Task
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import Gan, GanState

N_OUTPUTS = 4000  # examples of each set


def outputs(gan: Gan, state: GanState, task: Task, which: str, seed: int) -> Outputs:
  """What D gives to training data, held-out data and samples of 'raw' or 'ema' weights, `N_OUTPUTS` of each."""
  data = task.sample() if gan.n_classes else task.sample().without_labels()
  key = jax.random.fold_in(jax.random.key(seed), sampling.STREAM)
  look = jax.jit(lambda examples, labels: gan_lib.logits(gan, state.d.weights, examples, labels))
  positions = jnp.arange(N_OUTPUTS, dtype=jnp.uint32)
  # No training example twice: its rank among held-out ones would seem surer than it is.
  train = jax.jit(task.feed)(key, positions[: task.n_train], data.train)
  held_out = jax.jit(task.held_out)(jax.random.fold_in(key, 1), positions, data.held_out)
  latents = sampling.fixed_latents(gan.latent, seed + 1, N_OUTPUTS)
  make = jax.jit(lambda weights: gan_lib.sample(gan, weights, latents, held_out.labels))
  fake = look(make(sampling.weights(state, which)), held_out.labels)
  real = look(held_out.images, held_out.labels)
  return Outputs(
    np.asarray(look(train.images, train.labels)),
    np.asarray(real),
    np.asarray(fake),
    float(slope(gan, real, fake)),
  )
