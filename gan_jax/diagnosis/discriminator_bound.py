"""What a run's own D knows, once its confidence is mended: the same question that fresh probes are asked."""

import math
from typing import NamedTuple

import numpy as np

from gan_jax.metrics import two_sample
from gan_jax.metrics.two_sample import JsdBound

_BINS = 40


class DiscriminatorOutputs(NamedTuple):
  """What a run's own D gives to three sets, and how steep G's loss is there."""

  train: np.ndarray
  held_out: np.ndarray
  fake: np.ndarray
  slope: float  # mean |d loss of G / d output|, of each sample: 0 where G learns nothing


class DiscriminatorStatistics(NamedTuple):
  """What the run's own D knows, once its confidence is mended."""

  held_out: JsdBound  # of the Jensen-Shannon divergence, in nats
  train: JsdBound  # the same on training data
  overfit: float  # probability that D ranks a training example above a held-out one, 1/2 if not
  overfit_std: float  # of its null
  slope: float
  mean_real: float  # mean of sigmoid of its output, held out
  mean_fake: float
  histogram: dict[str, list[float]]
  spread: float = 1.0  # standard deviation of its outputs: 0 where it died


def compute_discriminator_statistics(outputs: DiscriminatorOutputs) -> DiscriminatorStatistics:
  """What the run's own D knows; one half of its outputs mends its confidence, the other is scored."""
  train, held_out, fake = (np.asarray(x, np.float64) for x in outputs[:3])
  n = min(len(held_out), len(fake)) // 2

  def bound(real: np.ndarray) -> JsdBound:
    half = min(n, len(real) // 2)
    slope, offset = two_sample.platt_scaling(real[:half], fake[:half])
    return two_sample.jsd_bound(slope * real[half:] + offset, slope * fake[half:] + offset)

  overfit, std = two_sample.roc_auc(train, held_out)
  low, high = np.quantile(np.concatenate([train, held_out, fake]), [0.005, 0.995])
  edges = np.linspace(low, high + 1e-6, _BINS + 1)
  histogram = {'edges': edges.tolist()} | {
    name: (np.histogram(x, edges)[0] / len(x)).tolist()
    for name, x in (('train', train), ('held_out', held_out), ('fake', fake))
  }
  mean = lambda x: float(np.mean(1 / (1 + np.exp(-np.clip(x, -50, 50)))))
  known = bound(train) if len(train) >= 20 else JsdBound(math.nan, math.nan, math.nan)
  beliefs = outputs.slope, mean(held_out), mean(fake)
  spread = float(np.std(np.concatenate([held_out, fake])))
  return DiscriminatorStatistics(bound(held_out), known, overfit, std, *beliefs, histogram, spread)
