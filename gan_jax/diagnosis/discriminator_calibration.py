"""Measures how well a run's discriminator separates data from samples, after Platt scaling of its outputs."""

import math
from typing import NamedTuple

import numpy as np

from gan_jax.metrics import two_sample
from gan_jax.metrics.two_sample import JsdBound

_N_BINS = 40


class DiscriminatorOutputs(NamedTuple):
  """Holds a discriminator's outputs on three sets of examples, [n] each."""

  train: np.ndarray
  held_out: np.ndarray
  fake: np.ndarray
  generator_loss_slope: (
    float  # mean |d generator loss / d output| over samples: 0 for vanished gradients
  )


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


def compute_discriminator_statistics(outputs: DiscriminatorOutputs) -> DiscriminatorStatistics:
  """Computes statistics of outputs; one half calibrates them (Platt, 1999), the other half gives the bound."""
  train, held_out, fake = (np.asarray(x, np.float64) for x in outputs[:3])
  n = min(len(held_out), len(fake)) // 2

  def bound(real: np.ndarray) -> JsdBound:
    half = min(n, len(real) // 2)
    slope, offset = two_sample.platt_scaling(real[:half], fake[:half])
    return two_sample.jsd_bound(slope * real[half:] + offset, slope * fake[half:] + offset)

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
    *two_sample.roc_auc(train, held_out),
    outputs.generator_loss_slope,
    mean_probability(held_out),
    mean_probability(fake),
    histogram,
    float(np.std(np.concatenate([held_out, fake]))),
  )
