"""Implements `Task` for synthetic distributions, whose exact scores are known."""

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.data import device_batches
from gan_jax.data.device_batches import BatchFn, DeviceData
from gan_jax.data.synthetic import SYNTHETIC, SyntheticDistribution
from gan_jax.evaluation import plots, sampling
from gan_jax.evaluation.discriminator_metrics import discriminator_line, discriminator_metrics
from gan_jax.evaluation.tasks.task import CheckpointEvaluation, ComparisonSets, EvaluationReport
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics import embeddings

N_COMPARISON = 20_000  # draws in each set of `comparison_sets`
_SEED_OFFSETS = {'validation': 0, 'test': 500_000_000}  # splits share no draw


@dataclasses.dataclass(frozen=True)
class SyntheticTask:
  """Draws fresh examples of a synthetic distribution and scores samples against its known truth."""

  distribution: SyntheticDistribution
  n_classes: int = 0
  class_names: tuple[str, ...] = ()
  class_counts: tuple[int, ...] = ()
  n_train: int | None = None
  mean_image: np.ndarray | None = None
  streamable = False

  @property
  def name(self) -> str:
    """Returns the name of the distribution, as in --dataset."""
    return self.distribution.name

  @property
  def shape(self) -> tuple[int, ...]:
    """Returns the shape of one example."""
    return self.distribution.shape

  @property
  def selection_metric(self) -> tuple[str, bool]:
    """Returns the name of the distribution's ranking score, and whether higher is better."""
    return self.distribution.ranking_score, self.distribution.higher_is_better

  @property
  def fingerprint(self) -> str:
    """Returns a SHA-256 of the first examples, which changes when the distribution does."""
    drawn = np.asarray(self._draw_real(0, 1000))
    # Rounded, so that the last bits of another machine do not change the fingerprint.
    return hashlib.sha256(f'{self.name} {np.round(drawn.sum(), 1)}'.encode()).hexdigest()

  @property
  def train_batch_fn(self) -> BatchFn:
    """Returns the function that draws fresh examples from keys."""
    return device_batches.synthetic_batches(self.distribution.sample)

  held_out_batch_fn = train_batch_fn  # called with keys that training never uses

  def window_batch_fn(self, batch_size: int) -> BatchFn:
    """Raises ValueError: synthetic examples are made on the device."""
    raise ValueError(f'{self.name} makes its examples on the device')

  def training_data(self, held_out: bool) -> DeviceData:
    """Returns no arrays: examples are made from keys."""
    del held_out
    return DeviceData(())

  def evaluation_data(self, split: str = 'validation') -> DeviceData:
    """Returns no arrays: examples are made from keys."""
    del split
    return DeviceData(())

  def _draw_real(self, seed: int, n: int) -> jax.Array:
    """Draws n real examples from another key than the one of the latents, which G has used."""
    key = jax.random.fold_in(jax.random.key(seed), sampling.SAMPLING_STREAM + 1)
    return _compiled_sampler(self.name)(jax.random.split(key, n))

  def _draw_fake(self, gan: Gan, state: GanState, which: str, seed: int, n: int) -> np.ndarray:
    latents = sampling.fixed_latents(gan.latent, seed, n)
    return sampling.generate_samples(gan, sampling.generator_weights(state, which), latents)

  def _score(self, samples: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in _compiled_scorer(self.name)(samples).items()}

  def _score_weights(self, gan: Gan, state: GanState, seed: int) -> dict[str, dict[str, float]]:
    """Returns the scores of samples of the 'raw' and of the 'ema' weights."""
    draw = lambda which: self._draw_fake(gan, state, which, seed, self.distribution.n_scored)
    return {which: self._score(draw(which)) for which in ('raw', 'ema')}

  def evaluate_checkpoint(self, gan: Gan, state: GanState, seed: int) -> CheckpointEvaluation:
    """Scores samples of both weights against the known distribution."""
    scores = self._score_weights(gan, state, seed)
    metrics = {f'{name}_{which}': x for which in scores for name, x in scores[which].items()}
    raw, ema, perfect = scores['raw'], scores['ema'], self.distribution.perfect_scores
    metric, higher_is_better = self.selection_metric
    score = ema[metric] * (1 if higher_is_better else -1)
    parts = (f'{name} {raw[name]:.3g} / {ema[name]:.3g} ({perfect[name]:.3g})' for name in raw)
    line = f'last / averaged weights (truth): {", ".join(parts)}'
    return CheckpointEvaluation(metrics, score, line)

  def save_sample_figures(
    self, folder: Path, step: int, gan: Gan, state: GanState, seed: int
  ) -> None:
    """Writes one figure of samples of the averaged weights beside real examples."""
    fake = self._draw_fake(gan, state, 'ema', seed, 1000)
    real = np.asarray(self._draw_real(seed, 1000))
    plots.plot_samples(folder / f'points_{step:08d}.png', real, fake, self.distribution.extent)

  def plot_scores(self, axes: Any, records: list[dict[str, Any]]) -> None:
    """Plots the ranking score of `records`, beside the score of the true distribution."""
    metric, _ = self.selection_metric
    truth = {'the truth': self.distribution.perfect_scores[metric]}
    plots.plot_score_history(axes, records, metric, truth)

  def comparison_sets(
    self, gan: Gan, state: GanState, which: str, seed: int, split: str = 'validation'
  ) -> ComparisonSets:
    """Returns `N_COMPARISON` training, held-out and generated examples, drawn anew for each seed and split."""
    seed, n = seed + _SEED_OFFSETS[split], N_COMPARISON
    seeds = (2 * seed + 1000, 2 * seed + 1001)
    train, held_out = (np.asarray(self._draw_real(key_seed, n)) for key_seed in seeds)
    fake = self._draw_fake(gan, state, which, seed, n)
    return ComparisonSets(train, held_out, fake, embeddings.point_embedding(train))

  def full_report(self, gan: Gan, state: GanState, split: str, seed: int) -> EvaluationReport:
    """Computes the scores of both weights, of one draw of the truth, and their expectation under it."""
    del split  # all examples are fresh
    scores = self._score_weights(gan, state, seed)
    truth = self._score(np.asarray(self._draw_real(seed, self.distribution.n_scored)))
    expected = self.distribution.perfect_scores
    protocol = {
      'game': self.name,
      'n_samples': self.distribution.n_scored,
      'best_by': self.distribution.ranking_score,
      'seed': seed,
    }
    lines = [f'{"":<24}{"last":>12}{"averaged":>12}{"a true draw":>14}{"expected":>12}']
    for name, value in expected.items():
      raw, ema = (f'{scores[which][name]:>12.4g}' for which in ('raw', 'ema'))
      lines.append(f'{name:<24}{raw}{ema}{truth[name]:>14.4g}{value:>12.4g}')
    watched = discriminator_metrics(gan, state, self.held_out_batch_fn, DeviceData(()), seed)
    lines.append(discriminator_line(gan, watched))
    lines.append('protocol: ' + ', '.join(f'{key} {value}' for key, value in protocol.items()))
    parts = dict(protocol=protocol, oracle=scores, truth=truth, ideal=expected, watched=watched)
    all_scores = {which: scores[which] | watched[which] for which in scores}
    return EvaluationReport('\n'.join(lines), parts, all_scores)


@functools.cache  # compiled once for all tasks: a sweep makes a task for each of its members
def _compiled_sampler(name: str) -> Any:
  return jax.jit(jax.vmap(SYNTHETIC[name].sample))


@functools.cache
def _compiled_scorer(name: str) -> Any:
  return jax.jit(SYNTHETIC[name].score_samples)
