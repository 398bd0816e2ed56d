"""Determines k, the number of discriminator updates per generator update: a fixed fraction or a controller."""

import math
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class UpdateRatio(NamedTuple):
  """Holds a fixed k = numerator / denominator; both may be traced."""

  numerator: int | Array
  denominator: int | Array

  def updates_at(self, step: Array) -> int | Array:
    """Returns the number of D's updates in step number `step`: for k = 1/2, 1, 0, 1, 0, ..."""
    if isinstance(self.denominator, int) and self.denominator == 1:
      return self.numerator
    phase = step % self.denominator  # keeps the products small
    return self.updates_before(phase + 1) - self.updates_before(phase)

  def updates_before(self, step: int | Array) -> int | Array:
    """Returns the number of D's updates in the first `step` steps of a run."""
    return -((-step * self.numerator) // self.denominator)  # rounded up


def ratio_from_float(k: float) -> UpdateRatio:
  """Returns the fraction nearest to k > 0 whose denominator is at most 1000."""
  fraction = Fraction(k).limit_denominator(1000)
  return UpdateRatio(fraction.numerator, fraction.denominator)


class Control(NamedTuple):
  """Holds the state of a `RatioController`, all float32 scalars."""

  k: Array
  credit: Array  # updates of D that are due, with the fraction left over
  gain: Array  # running mean of the fall of D's held-out cross-entropy by an update of D, nats
  undone: Array  # running mean of its rise by an update of G, nats


class RatioController(NamedTuple):
  """Adapts k until an update of G raises D's held-out cross-entropy as much as `target` updates of D lower it.

  Each measurement applies `n_lookahead` updates of D alone, then of G alone, to copies of the state. k
  rises where the rise exceeds `target` times the fall, and falls otherwise. Held-out data, because on
  training data D also gains by memorising. A ratio of differences, because it has no scale: nats per
  update depend on data, learning rates and schedules.
  """

  target: float | Array = 1.0
  low: float = 1.0  # bounds of k
  high: float = 5.0
  every: int = 50  # steps between measurements
  second: int = 16  # the step of the second measurement; then powers of two up to `every`
  n_lookahead: int = 2  # updates of each player in a measurement
  n_examples: int = 256  # held-out examples, and fakes, in a measurement
  rate: float = 1.0  # largest change of log2 k by a measurement
  leap: float = 4.0  # change of log2 k per unit of the log2 ratio, at the first measurement
  memory: float = 0.5  # decay of the running means, per measurement

  def init(self) -> Control:
    """Returns the state of a new run: k at its lower bound, one update of D due."""
    first = jnp.asarray(self.low, jnp.float32)
    return Control(first, jnp.ones(()), jnp.zeros(()), jnp.zeros(()))

  def next_updates(self, control: Control) -> tuple[Array, Control]:
    """Returns the number of D's updates in the next step (int32), and the state after that step."""
    whole = jnp.floor(control.credit)
    return whole.astype(jnp.int32), control._replace(credit=control.credit - whole + control.k)

  def max_updates(self, steps: int) -> int:
    """Returns an upper bound on the number of D's updates in any `steps` consecutive steps."""
    return math.ceil(self.high * steps) + 2  # the credit left over is below 1, but for rounding

  def is_due(self, step: Array) -> Array:
    """Returns whether a measurement follows step number `step` > 0.

    That is after step 1, `second`, the powers of two between `second` and `every`, and multiples of `every`.
    """
    early = (step >= self.second) & (step < self.every) & ((step & (step - 1)) == 0)
    return (step == 1) | early | (step % self.every == 0)

  def adapt(self, control: Control, gain: Array, undone: Array) -> Control:
    """Returns the state after a measurement: log2 k moves by the log2 of undone / (target gain), clipped.

    The running means of both measured values are used; a mean that is not positive lowers k.
    """
    mean = lambda old, new: self.memory * old + (1 - self.memory) * new
    gain, undone = mean(control.gain, gain), mean(control.undone, undone)
    positive = (gain > 0) & (undone > 0)
    ratio = undone / jnp.where(positive, self.target * gain, 1)
    octaves = jnp.log2(jnp.where(positive, ratio, 0.5))
    at_first = (control.gain == 0) & (control.undone == 0)
    change = jnp.where(at_first, self.leap * octaves, self.rate * jnp.clip(octaves, -1, 1))
    k = control.k * 2**change
    return Control(jnp.clip(k, self.low, self.high), control.credit, gain, undone)

  def lookahead_updates(self, steps: int) -> int:
    """Returns the number of updates of either player made for measurements in the first `steps` steps."""
    n_early = min(steps, self.every - 1).bit_length() - (self.second - 1).bit_length()
    n = (steps > 0) + max(n_early, 0) + steps // self.every
    return n * self.n_lookahead


def log_odds_cross_entropy(real: Array, fake: Array) -> Array:
  """Returns -E log D(x) - E log(1 - D(G(z))) [nats] for D's log-odds of data [n] and fakes [m]."""
  return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
