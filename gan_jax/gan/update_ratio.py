"""How many discriminator updates come next: a fixed k, fractions included, or a controller."""

import math
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
    return self.before(phase + 1) - self.before(phase)

  def before(self, step: int | jax.Array) -> int | jax.Array:
    """Updates of D in the first `step` steps of a run."""
    return -((-step * self.numerator) // self.denominator)  # rounded up


def ratio(k: float) -> Ratio:
  """The fraction with a denominator of up to 1000 that is nearest to k > 0."""
  fraction = Fraction(k).limit_denominator(1000)
  return Ratio(fraction.numerator, fraction.denominator)


class Control(NamedTuple):
  """What the controller remembers, all float32: enough to go on bit for bit."""

  k: jax.Array
  credit: jax.Array  # updates of D that are due, with the fraction left over
  gain: jax.Array  # running mean of what an update of D gains
  undone: jax.Array  # and of what an update of G undoes


class Balance(NamedTuple):
  """A controller that keeps D ahead of G, but not by too much.

  The signal is what one more update of either player is worth, in nats of D's cross-entropy on data held
  out from training: each of them looks `ahead` so many updates while the other stands still, and is then
  forgotten. Where an update of G undoes more than `target` updates of D gain, D does not keep up, and k
  rises; where D makes it good with less, the updates are better spent on G, and k falls.

  Held out, because D's success on its training data may be memory: where an update gains nothing there,
  k falls. Differences of losses, because D's loss or success itself does not tell whether more updates
  would help: a D that is undecided may be bad, or G good. And their ratio, which has no scale: nats per
  update depend on the data, the learning rates and their schedules, and a bound for them would have to be
  found for each task anew.
  """

  target: float | jax.Array = 1.0
  low: float = 1.0
  high: float = 5.0
  every: int = 50  # steps between measurements
  second: int = 16  # after step 1, the next; from there to `every` they come at powers of two
  ahead: int = 2  # updates of each player in a measurement
  n: int = 256  # held-out examples, and fakes, that judge them
  rate: float = 1.0  # octaves by which one measurement moves k at most
  leap: float = 4.0  # octaves of k for each octave of the ratio, at the first measurement
  memory: float = 0.5  # of the running means, per measurement

  def start(self) -> Control:
    """K is at its lower bound, and the first update of D is due."""
    first = jnp.asarray(self.low, jnp.float32)
    return Control(first, jnp.ones(()), jnp.zeros(()), jnp.zeros(()))

  def due(self, control: Control) -> tuple[jax.Array, Control]:
    """Updates of D that come before G's next one (int32), and what is left of the credit."""
    whole = jnp.floor(control.credit)
    return whole.astype(jnp.int32), control._replace(credit=control.credit - whole + control.k)

  def most(self, steps: int) -> int:
    """No fewer updates of D than are due in so many steps, whatever is measured in them."""
    return math.ceil(self.high * steps) + 2  # the credit left over is below 1, but for rounding

  def measures(self, step: jax.Array) -> jax.Array:
    """Whether a measurement follows `step` > 0: often at first, for k has to find its place soon.

    But after the very first step none comes until both players have found their way: in between D learns
    its first lesson, and any ratio comes up, whatever it is later.
    """
    early = (step >= self.second) & (step < self.every) & ((step & (step - 1)) == 0)
    return (step == 1) | early | (step % self.every == 0)

  def adapt(self, control: Control, gain: jax.Array, undone: jax.Array) -> Control:
    """The controller after a measurement: k moves with the octaves of the ratio of the means to the target."""
    mean = lambda old, new: self.memory * old + (1 - self.memory) * new
    gain, undone = mean(control.gain, gain), mean(control.undone, undone)
    # Of means that are not above 0 there is no ratio: D has nothing to gain, or nothing to make good.
    lags = (gain > 0) & (undone > 0)
    octaves = jnp.log2(jnp.where(lags, undone / jnp.where(lags, self.target * gain, 1), 0.5))
    at_first = (control.gain == 0) & (control.undone == 0)
    moved = jnp.where(at_first, self.leap * octaves, self.rate * jnp.clip(octaves, -1, 1))
    k = control.k * 2**moved
    return Control(jnp.clip(k, self.low, self.high), control.credit, gain, undone)

  def spent(self, steps: int) -> int:
    """Updates of either player that so many steps have looked ahead."""
    n_early = min(steps, self.every - 1).bit_length() - (self.second - 1).bit_length()
    n = (steps > 0) + max(n_early, 0) + steps // self.every
    return n * self.ahead


def cross_entropy(real: jax.Array, fake: jax.Array) -> jax.Array:
  """What the log-odds [n] and [m] of beliefs cost on data and samples, nats; 2 log 2 where undecided."""
  return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
