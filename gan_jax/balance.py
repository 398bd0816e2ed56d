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
  gain: jax.Array  # running mean of what was measured


class Balance(NamedTuple):
  """A controller that keeps D ahead of G, but not by too much.

  The signal is what one more update of D is worth, in nats of cross-entropy on data held out from training:
  D looks `ahead` so many updates while G stands still, and is then forgotten. Where they gain more
  than `target` each, D lags behind what it could know of this G, and k rises; where less, the updates
  are better spent on G, and k falls. Where D's learning rate falls, a gain counts as at the first rate,
  so that both players' slowing down moves no k. Held out, because D's success on its own training data may be
  memory. A difference of two losses, because D's loss or success itself does not tell: a D that is
  undecided may be bad, or G good, and only the first can be mended by more updates of D.

  The gain counts times the square of D's `advantage`: where samples lie among the data, D follows every
  move of G and gains by it without end, and G needs updates of its own. More of D pay where the two
  lie apart, and D has to become a guide.
  """

  target: float | jax.Array = 0.03
  low: float = 1.0
  high: float = 5.0
  every: int = 25  # steps between measurements
  ahead: int = 4  # updates of D in each
  n: int = 256  # held-out examples, and fakes, that judge them
  rate: float = 0.5  # octaves by which one measurement moves k at most
  memory: float = 0.5  # of the running mean, per measurement

  def start(self) -> Control:
    """K lies midway between its bounds, in octaves, and the first update of D is due."""
    first = jnp.sqrt(self.low * self.high)
    return Control(first, jnp.ones(()), jnp.asarray(self.target, jnp.float32))

  def due(self, control: Control) -> tuple[jax.Array, Control]:
    """Updates of D that come before G's next one (int32), and what is left of the credit."""
    whole = jnp.floor(control.credit)
    return whole.astype(jnp.int32), control._replace(credit=control.credit - whole + control.k)

  def most(self, steps: int) -> int:
    """No fewer updates of D than are due in so many steps, whatever is measured in them."""
    return math.ceil(self.high * steps) + 2  # the credit left over is below 1, but for rounding

  def adapt(self, control: Control, measured: jax.Array) -> Control:
    """The controller after one measurement: log2 k moves by what the gain exceeds the target, relatively."""
    mean = self.memory * control.gain + (1 - self.memory) * measured
    octaves = self.rate * jnp.clip(mean / self.target - 1, -1, 1)
    return control._replace(k=jnp.clip(control.k * 2**octaves, self.low, self.high), gain=mean)

  def spent(self, steps: int) -> int:
    """Updates of D that so many steps have looked ahead."""
    return steps // self.every * self.ahead


def advantage(real: jax.Array, fake: jax.Array) -> jax.Array:
  """2 P(real > fake) - 1 over all pairs of outputs, real [n] and fake [m]: Somers' D, 2 AUC - 1."""
  return jnp.mean(jnp.sign(real[:, None] - fake[None, :]))


def cross_entropy(real: jax.Array, fake: jax.Array) -> jax.Array:
  """What the log-odds [n] and [m] of beliefs cost on data and samples, nats; 2 log 2 where undecided."""
  return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
