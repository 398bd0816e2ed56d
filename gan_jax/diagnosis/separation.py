"""Trains all kinds of probes to separate samples from held-out data, and tests whether any of them does."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import special

from gan_jax.diagnosis import example_splits, image_probes
from gan_jax.diagnosis.convolutional_probes import FittedProbe
from gan_jax.diagnosis.example_splits import PairedSplit, SplitIndices
from gan_jax.diagnosis.fresh_discriminators import ProbeSplits, train_vector_probes
from gan_jax.diagnosis.probe_types import ExampleParts, ProbeScores
from gan_jax.metrics import jsd_bound, two_sample_test
from gan_jax.metrics.embeddings import Embedding
from gan_jax.metrics.jsd_bound import JsdBound
from gan_jax.metrics.two_sample_test import HeldOutLogits

NOISE_LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5)  # standard deviations, in units of the data's
N_VECTORS = 20_000  # examples of each set for probes of vectors
N_NOISY = 5000  # for probes of vectors with added noise
N_EXAMPLES = 10_000  # for probes of whole examples
N_TRAINED = 5000  # of which at most these train
CLIP = 100.0  # standard deviations of the data, to which vectors are clipped
_N_SHOWN = 256  # test examples of each set that are kept to be shown
FAMILY_WISE_ERROR = 0.01  # chance that any probe calls equal distributions different

FitEmbedding = Callable[[np.ndarray], Embedding]  # from real examples [n, ...]
# Trains one more probe: from a seed, and the parts of real data and of samples.
ExtraProbe = Callable[[int, ExampleParts, ExampleParts], ProbeScores]


class ProbeEvidence(NamedTuple):
  """Holds what one kind of probe proves on examples that it was not trained on."""

  name: str
  bound: JsdBound  # nats
  auc: float
  p: float  # of its own test
  chance: float  # divergence that equal sets seem to have once in forty, nats
  validation_cross_entropy: float  # nats


class ImageNetwork(NamedTuple):
  """Holds a network of images, and images uint8 [n, h, w, c] of both sets on which it was not trained."""

  probe: FittedProbe
  real: np.ndarray
  fake: np.ndarray


class Separation(NamedTuple):
  """Holds the evidence of all probes that samples differ from held-out data."""

  probes: list[ProbeEvidence]  # the one with the least validation cross-entropy first
  p: float  # that any probe's test gives by chance, corrected for the number of probes
  detectable: float  # divergence that the best probe's test finds in nine of ten cases, nats
  ladder: list[tuple[float, ProbeEvidence]]  # of vectors, by the std of noise added to both sets
  logits: list[HeldOutLogits]  # of the best probe, by fold
  vectors: ProbeEvidence  # of vectors without noise: the first rung of the ladder
  network: ImageNetwork | None = None  # of images, the best one at full resolution

  @property
  def bound(self) -> JsdBound:
    """Returns the lower bound on the divergence by the probe that validation data chose."""
    return self.probes[0].bound


def measure_separation(
  seed: int,
  held_out: np.ndarray,
  fake: np.ndarray,
  fit_embedding: FitEmbedding,
  extra_probe: ExtraProbe | None = None,
  with_ladder: bool = True,
) -> Separation:
  """Trains probes of vectors, and of images where examples are, against held-out data.

  Args:
    seed: of splits and probes.
    held_out: real examples that training has not seen, [n, d] or uint8 [n, h, w, c].
    fake: samples in the same format, [m, ...].
    fit_embedding: gives the embedding whose vectors probes see, from real examples that may be fitted.
    extra_probe: a further probe of examples, such as the run's own discriminator trained anew.
    with_ladder: whether to train probes under added noise, too.
  """
  real, fake = held_out[:N_VECTORS], fake[:N_VECTORS]
  folds = example_splits.n_folds(len(real), len(fake))
  splits = list(example_splits.paired_splits(real, fake, folds, seed))
  scores: list[list[ProbeScores]] = []
  network = None
  for i, split in enumerate(splits):
    vectors = _vector_parts(split, real, fake, fit_embedding)
    parts = _example_parts(split.real, real), _example_parts(split.fake, fake)
    images: list[ProbeScores] = []
    if held_out.ndim == 4:
      images, probe = image_probes.fit_image_probes(seed + i, *parts)
      network = ImageNetwork(probe, *(part.test[:_N_SHOWN] for part in parts))
    extra = [] if extra_probe is None else [extra_probe(seed + i, *parts)]
    scores.append([train_vector_probes(seed + i, *vectors), *images, *extra])
  probes = [_evidence(splits, each, seed) for each in zip(*scores, strict=True)]
  order = sorted(range(len(probes)), key=lambda i: probes[i].validation_cross_entropy)
  n_real, n_fake = (
    sum(len(split.real.test) for split in splits),
    sum(len(split.fake.test) for split in splits),
  )
  return Separation(
    [probes[i] for i in order],
    min(two_sample_test.family_wise([probe.p for probe in probes])),
    detectable_divergence(n_real, n_fake, FAMILY_WISE_ERROR / (2 * len(probes))),
    _noise_ladder(seed, real[:N_NOISY], fake[:N_NOISY], fit_embedding) if with_ladder else [],
    [_held_out_logits(s, each[order[0]]) for s, each in zip(splits, scores, strict=True)],
    probes[0],
    network,
  )


def detectable_divergence(n: int, m: int, level: float, power: float = 0.9) -> float:
  """Returns the JSD in nats that a rank test at `level` on n real and m fake examples finds at `power`.

  For logits of equal variance: normal with means d apart, the area under the ROC curve is Phi(d / sqrt 2).
  """
  z = -special.ndtri(level) + special.ndtri(power)
  area = min(0.5 + z * math.sqrt((n + m + 1) / (12 * n * m)), 1 - 1e-9)
  distance = math.sqrt(2) * float(special.ndtri(area))
  # The JSD of two normals whose log-odds are x d for x in units of the std.
  x = np.linspace(-12, 12 + distance, 4001)
  p, q = (np.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi) for mean in (0.0, distance))
  middle = np.maximum((p + q) / 2, 1e-300)
  terms = special.xlogy(p, p / middle) + special.xlogy(q, q / middle)
  return float(np.trapezoid(terms, x) / 2)


def _vector_parts(
  split: PairedSplit, real: np.ndarray, fake: np.ndarray, fit_embedding: FitEmbedding
) -> tuple[str, ProbeSplits, ProbeSplits]:
  """Returns the name of the embedding and the vectors of all parts.

  The embedding must not be fitted to real examples that are scored: they would differ from samples by it.
  """
  fitted = np.concatenate([split.real.reference, split.real.train])
  embedding = fit_embedding(real[fitted])
  embed = lambda x: jnp.clip(jnp.asarray(embedding.full(x)), -CLIP, CLIP)
  parts = split.real.take(real), split.fake.take(fake)
  return embedding.name, ProbeSplits(*map(embed, parts[0])), ProbeSplits(*map(embed, parts[1]))


def _example_parts(part: SplitIndices, examples: np.ndarray) -> ExampleParts:
  share = min(1.0, N_EXAMPLES / len(examples))
  cut = lambda rows: examples[rows[: math.ceil(share * len(rows))]]
  trained = np.concatenate([part.reference, part.train])[:N_TRAINED]
  return ExampleParts(examples[trained], cut(part.validation), cut(part.test))


def _held_out_logits(split: PairedSplit, probe: ProbeScores) -> HeldOutLogits:
  n, m = (
    len(probe.real),
    len(probe.fake),
  )  # probes of whole examples score the first of the test rows
  return HeldOutLogits(probe.real, probe.fake, split.real_groups[:n], split.fake_groups[:m])


def _evidence(
  splits: Sequence[PairedSplit], scores: Sequence[ProbeScores], seed: int
) -> ProbeEvidence:
  """Combines the scores of one kind of probe over folds."""
  folds = [_held_out_logits(split, probe) for split, probe in zip(splits, scores, strict=True)]
  bounds = [jsd_bound.jsd_bound(f.real, f.fake, seed, groups=f[2:]) for f in folds]
  n, m = (sum(len(f[i]) for f in folds) for i in (0, 1))
  test = two_sample_test.separation_test(folds)
  return ProbeEvidence(
    scores[0].name,
    jsd_bound.combine_bounds(bounds),
    test.auc,
    test.p,
    detectable_divergence(n, m, 0.025, power=0.5),
    float(np.mean([probe.validation_cross_entropy for probe in scores])),
  )


def _noise_ladder(
  seed: int, real: np.ndarray, fake: np.ndarray, fit_embedding: FitEmbedding
) -> list[tuple[float, ProbeEvidence]]:
  """Returns the evidence of probes of vectors with noise added to both sets, by its std."""
  (split,) = example_splits.paired_splits(real, fake, 1, seed)
  name, real_vectors, fake_vectors = _vector_parts(split, real, fake, fit_embedding)
  ladder = []
  for sigma in NOISE_LEVELS:
    name_with_noise = f'{name}, noise of {sigma:g}'
    probe = train_vector_probes(seed, name_with_noise, real_vectors, fake_vectors, sigma)
    ladder.append((sigma, _evidence([split], [probe], seed)))
  return ladder
