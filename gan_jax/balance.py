"""How many discriminator updates come next: a fixed k, fractions included, or a controller."""

from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Ratio(NamedTuple):
  """A fixed k = numerator / denominator; both may be traced."""

  numerator: int | jax.Array
  denominator: int | jax.Array

  def due(self, step: jax.Array) -> int | jax.Array:
    """Updates of D before G's update number `step`: spread evenly, k per step in the mean, D first.

    A k of 1/2 gives 1, 0, 1, 0, ...; of 3/2 it gives 2, 1, 2, 1, ...
    """
    if isinstance(self.denominator, int) and self.denominator == 1:
      return self.numerator
    phase = step % self.denominator  # keeps the products small
    return self._before(phase + 1) - self._before(phase)

  def _before(self, step: jax.Array) -> jax.Array:
    return -((-step * self.numerator) // self.denominator)  # rounded up


def ratio(k: float) -> Ratio:
  """The fraction with a denominator of up to 1000 that is nearest to k > 0."""
  fraction = Fraction(k).limit_denominator(1000)
  return Ratio(fraction.numerator, fraction.denominator)


class Control(NamedTuple):
  """What the controller remembers, all float32: enough to go on bit for bit."""

  k: jax.Array
  credit: jax.Array  # updates of D that are due, with the fraction left over
  advantage: jax.Array  # running mean of what was measured


class Balance(NamedTuple):
  """A controller that keeps D ahead of G, but not by too much.

  The signal is D's advantage on data held out from training: 2 P(D(x) > D(G(z))) - 1 for a held-out x
  and a fresh z, 0 where D ranks them at random and 1 where it never errs. Held out, because D's success
  on its own training data may be memory; a rank, because it means the same for every loss and
  does not change when D's logits are scaled. log2 k is `gain` times what the advantage lacks to
  `target`, where k is 1: half of it where D never errs, several where it errs more than chance. It
  answers the advantage and does not integrate it: an advantage that stays near 0 may mean a bad D or a
  good G, and whoever waits for it to rise ends with all updates spent on D.
  """

  target: float = 0.5
  low: float = 0.5
  high: float = 5.0
  every: int = 10  # steps between measurements
  n: int = 256  # held-out examples, and fakes, in each
  gain: float = 2.0
  memory: float = 0.8  # of the running mean, per measurement

  def start(self) -> Control:
    """K is 1 and the first update of D is due."""
    return Control(jnp.ones(()), jnp.ones(()), jnp.full((), self.target, jnp.float32))

  def due(self, control: Control) -> tuple[jax.Array, Control]:
    """Updates of D that come before G's next one (int32), and what is left of the credit."""
    whole = jnp.floor(control.credit)
    return whole.astype(jnp.int32), control._replace(credit=control.credit - whole + control.k)

  def adapt(self, control: Control, measured: jax.Array) -> Control:
    """The controller after one measurement of D's held-out advantage."""
    mean = self.memory * control.advantage + (1 - self.memory) * measured
    k = 2 ** (self.gain * (self.target - mean))
    return control._replace(k=jnp.clip(k, self.low, self.high), advantage=mean)


def advantage(real: jax.Array, fake: jax.Array) -> jax.Array:
  """2 P(real > fake) - 1 over all pairs of logits, real [n] and fake [m]: Somers' D, 2 AUC - 1."""
  return jnp.mean(jnp.sign(real[:, None] - fake[None, :]))
