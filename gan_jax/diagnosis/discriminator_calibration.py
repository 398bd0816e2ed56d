"""Measures on outputs of a run's discriminator, after Platt scaling, how it separates data from samples."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.diagnosis.training_monitors import generator_loss_slope
from gan_jax.evaluation import sampling
from gan_jax.evaluation.tasks import Task
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics import jsd_bound
from gan_jax.metrics.jsd_bound import JsdBound

N_EXAMPLES = 4000  # of each set
_N_BINS = 40  # of the histogram


class DiscriminatorOutputs(NamedTuple):
  """Holds a discriminator's outputs on three sets of examples, [n] each."""

  train: np.ndarray
  held_out: np.ndarray
  fake: np.ndarray
  generator_loss_slope: float  # mean |d loss / d output| over samples: 0 for vanished gradients


class DiscriminatorStatistics(NamedTuple):
  """Holds what a discriminator's outputs prove about the divergence, and how far it overfits."""

  held_out_bound: JsdBound  # lower bound on the JSD of data and samples, by calibrated outputs
  train_bound: JsdBound  # the same bound on training data
  train_above_held_out: float  # probability of ranking a training example above a held-out one
  train_above_held_out_std: float  # of that probability where it is 1/2
  generator_loss_slope: float
  mean_real: float  # mean of sigmoid(output) on held-out data
  mean_fake: float
  histogram: dict[str, list[float]]
  output_std: float = 1.0  # 0 for a discriminator of constant output


def collect_discriminator_outputs(
  gan: Gan, state: GanState, task: Task, weights: str, seed: int, split: str = 'validation'
) -> DiscriminatorOutputs:
  """Applies D to training data, held-out data of `split` and samples of 'raw' or 'ema' weights.

  These are `N_EXAMPLES` each, or as many as there are.
  """
  data = task.evaluation_data(split)
  data = data if gan.n_classes else data.without_labels()
  key = jax.random.fold_in(jax.random.key(seed), sampling.SAMPLING_STREAM)
  logits = jax.jit(lambda examples, labels: gan_lib.logits(gan, state.d.weights, examples, labels))
  positions = jnp.arange(N_EXAMPLES, dtype=jnp.uint32)
  # Each real example once: repeated ones would understate the error of their rank, and of the bound.
  train = jax.jit(task.train_batch_fn)(key, positions[: task.n_train], data.train)
  if task.n_train:
    positions = positions[: len(data.held_out.images)]
  held_out = jax.jit(task.held_out_batch_fn)(jax.random.fold_in(key, 1), positions, data.held_out)
  latents = sampling.fixed_latents(gan.latent, seed + 1, len(positions))
  generate = jax.jit(lambda weights: gan_lib.sample(gan, weights, latents, held_out.labels))
  fake = logits(generate(sampling.generator_weights(state, weights)), held_out.labels)
  real = logits(held_out.images, held_out.labels)
  return DiscriminatorOutputs(
    np.asarray(logits(train.images, train.labels)),
    np.asarray(real),
    np.asarray(fake),
    float(generator_loss_slope(gan, real, fake)),
  )


def compute_discriminator_statistics(outputs: DiscriminatorOutputs) -> DiscriminatorStatistics:
  """Computes statistics of outputs; one half calibrates them (Platt, 1999), the other half gives the bound."""
  train, held_out, fake = (np.asarray(x, np.float64) for x in outputs[:3])
  n = min(len(held_out), len(fake)) // 2

  def bound(real: np.ndarray) -> JsdBound:
    half = min(n, len(real) // 2)
    slope, offset = jsd_bound.platt_scaling(real[:half], fake[:half])
    return jsd_bound.jsd_bound(slope * real[half:] + offset, slope * fake[half:] + offset)

  low, high = np.quantile(np.concatenate([train, held_out, fake]), [0.005, 0.995])
  edges = np.linspace(low, high + 1e-6, _N_BINS + 1)
  histogram = {'edges': edges.tolist()} | {
    name: (np.histogram(x, edges)[0] / len(x)).tolist()
    for name, x in (('train', train), ('held_out', held_out), ('fake', fake))
  }
  mean_probability = lambda x: float(np.mean(1 / (1 + np.exp(-np.clip(x, -50, 50)))))
  return DiscriminatorStatistics(
    bound(held_out),
    bound(train) if len(train) >= 20 else JsdBound(math.nan, math.nan, math.nan),
    *jsd_bound.roc_auc(train, held_out),
    outputs.generator_loss_slope,
    mean_probability(held_out),
    mean_probability(fake),
    histogram,
    float(np.std(np.concatenate([held_out, fake]))),
  )
