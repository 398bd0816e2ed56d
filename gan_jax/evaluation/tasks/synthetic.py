"""Games: endless data with an oracle."""

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.data import device_batches
from gan_jax.data.device_batches import Data, Feed
from gan_jax.data.synthetic import GAMES, Game
from gan_jax.evaluation import held_out_discriminator, plots, sampling
from gan_jax.evaluation.tasks.task import N_COMPARED, Compared, Measurement, Report
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics import embeddings

_WHICH = {'raw': 'last weights', 'ema': 'averaged weights'}


@dataclasses.dataclass(frozen=True)
class GameTask:
  """A game as the training loop sees it."""

  game: Game
  n_classes: int = 0
  n_train: int | None = None
  mean_image: np.ndarray | None = None

  @property
  def name(self) -> str:
    """As --dataset has it."""
    return self.game.name

  @property
  def shape(self) -> tuple[int, ...]:
    """Of one example."""
    return self.game.shape

  @property
  def ranked_by(self) -> tuple[str, bool]:
    """The oracle's number that leaves the fewest ways out."""
    return self.game.best_by, self.game.higher_is_better

  @property
  def fingerprint(self) -> str:
    """Sha256 of the game's first examples: it changes when the game does."""
    drawn = np.asarray(self._real(0, 1000))
    # Rounded: another machine's last bit does not make another game.
    return hashlib.sha256(f'{self.name} {np.round(drawn.sum(), 1)}'.encode()).hexdigest()

  @property
  def feed(self) -> Feed:
    """Fresh examples."""
    return device_batches.from_game(self.game.sample)

  held_out = feed  # of a key that training never uses
  streamable = False

  def windowed(self, batch_size: int) -> Feed:
    """There is nothing to read."""
    raise ValueError(f'{self.name} makes its examples on the device')

  def data(self, held_out: bool) -> Data:
    """Nothing: examples are made from keys."""
    del held_out
    return Data(())

  def sample(self) -> Data:
    """Nothing either."""
    return Data(())

  def judge(self, gan: Gan, state: GanState, seed: int) -> dict[str, dict[str, float]]:
    """What the oracle says of 'raw' and 'ema' samples."""
    latents = sampling.fixed_latents(gan.latent, seed, self.game.n_judged)
    return {
      which: self._ask(sampling.points(gan, sampling.weights(state, which), latents))
      for which in _WHICH
    }

  def _ask(self, samples: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in _oracle(self.game.name)(samples).items()}

  def _real(self, seed: int, n: int) -> jax.Array:
    # Not the key of the latents: G would be judged against what it was given.
    key = jax.random.fold_in(jax.random.key(seed), sampling.STREAM + 1)
    return _sampler(self.name)(jax.random.split(key, n))

  def measure(self, gan: Gan, state: GanState, seed: int) -> Measurement:
    """The oracle's numbers."""
    judged = self.judge(gan, state, seed)
    values = {f'{name}_{which}': x for which in judged for name, x in judged[which].items()}
    best_by, higher_is_better = self.ranked_by
    score = judged['ema'][best_by] * (1 if higher_is_better else -1)
    told = ', '.join(
      f'{name} {judged["raw"][name]:.3g} / {judged["ema"][name]:.3g} ({self.game.ideal[name]:.3g})'
      for name in judged['raw']
    )
    return Measurement(values, score, f'last / averaged weights (truth): {told}')

  def paint(self, folder: Path, step: int, gan: Gan, state: GanState, seed: int) -> None:
    """Samples of averaged weights among those of the truth."""
    n = 1000
    latents = sampling.fixed_latents(gan.latent, seed, n)
    fake = sampling.points(gan, sampling.weights(state, 'ema'), latents)
    real = np.asarray(self._real(seed, n))
    plots.points(folder / f'points_{step:08d}.png', real, fake, self.game.extent)

  def plot_scores(self, axes: Any, records: list[dict[str, Any]]) -> None:
    """The number by which checkpoints are ranked, beside what the truth itself gets."""
    best_by = self.game.best_by
    plots.scores(axes, records, best_by, {'the truth': self.game.ideal[best_by]})

  def compared(self, gan: Gan, state: GanState, which: str, seed: int) -> Compared:
    """Fresh draws of the game, of two keys of their own, and as many samples."""
    train, held_out = (np.asarray(self._real(2 * seed + i + 1000, N_COMPARED)) for i in (0, 1))
    latents = sampling.fixed_latents(gan.latent, seed, N_COMPARED)
    fake = sampling.points(gan, sampling.weights(state, which), latents)
    return Compared(train, held_out, fake, embeddings.of_points(train))

  def report(self, gan: Gan, state: GanState, split: str, seed: int) -> Report:
    """All numbers of the oracle for both weights, beside samples of the truth and their expectation."""
    del split  # every example is fresh
    judged = self.judge(gan, state, seed)
    truth = self._ask(np.asarray(self._real(seed, self.game.n_judged)))
    protocol = {
      'game': self.name,
      'n_samples': self.game.n_judged,
      'best_by': self.game.best_by,
      'seed': seed,
    }
    lines = [f'{"":<24}{"last":>12}{"averaged":>12}{"a true draw":>14}{"expected":>12}']
    for name, expected in self.game.ideal.items():
      lines.append(
        f'{name:<24}{judged["raw"][name]:>12.4g}{judged["ema"][name]:>12.4g}'
        f'{truth[name]:>14.4g}{expected:>12.4g}'
      )
    seen = held_out_discriminator.watched(gan, state, self.held_out, self.sample(), seed)
    lines.append(held_out_discriminator.as_line(gan, seen))
    lines.append('protocol: ' + ', '.join(f'{key} {value}' for key, value in protocol.items()))
    values = {
      'protocol': protocol,
      'oracle': judged,
      'truth': truth,
      'ideal': self.game.ideal,
      'watched': seen,
    }
    scores = {which: judged[which] | seen[which] for which in judged}
    return Report('\n'.join(lines), values, scores)


@functools.cache  # compiled once for all tasks: a sweep asks for each of its members
def _sampler(name: str) -> Any:
  return jax.jit(jax.vmap(GAMES[name].sample))


@functools.cache
def _oracle(name: str) -> Any:
  return jax.jit(GAMES[name].oracle)
