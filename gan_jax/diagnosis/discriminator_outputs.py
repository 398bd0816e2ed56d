"""Collects the outputs of a run's discriminator on training data, held-out data and samples."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.diagnosis.discriminator_calibration import DiscriminatorOutputs
from gan_jax.diagnosis.training_monitors import generator_loss_slope
from gan_jax.evaluation import sampling
from gan_jax.evaluation.tasks import Task
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import Gan, GanState

N_EXAMPLES = 4000  # of each set


def collect_discriminator_outputs(
  gan: Gan, state: GanState, task: Task, weights: str, seed: int
) -> DiscriminatorOutputs:
  """Applies D to `N_EXAMPLES` of each set; `weights`, 'raw' or 'ema', are those that draw the samples."""
  data = task.evaluation_data() if gan.n_classes else task.evaluation_data().without_labels()
  key = jax.random.fold_in(jax.random.key(seed), sampling.SAMPLING_STREAM)
  logits = jax.jit(lambda examples, labels: gan_lib.logits(gan, state.d.weights, examples, labels))
  positions = jnp.arange(N_EXAMPLES, dtype=jnp.uint32)
  # Each training example once: repeated ones would understate the error of their rank.
  train = jax.jit(task.train_batch_fn)(key, positions[: task.n_train], data.train)
  held_out = jax.jit(task.held_out_batch_fn)(jax.random.fold_in(key, 1), positions, data.held_out)
  latents = sampling.fixed_latents(gan.latent, seed + 1, N_EXAMPLES)
  generate = jax.jit(lambda weights: gan_lib.sample(gan, weights, latents, held_out.labels))
  fake = logits(generate(sampling.generator_weights(state, weights)), held_out.labels)
  real = logits(held_out.images, held_out.labels)
  return DiscriminatorOutputs(
    np.asarray(logits(train.images, train.labels)),
    np.asarray(real),
    np.asarray(fake),
    float(generator_loss_slope(gan, real, fake)),
  )
