"""Curves in the plane with Gaussian noise around them: two moons, and spirals."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.synthetic.distribution import Density, SyntheticDistribution
from gan_jax.metrics.kolmogorov_smirnov import expected_ks_distance, ks_distance

_PANEL = 4.0  # lengths of the noise that one panel of the quadrature spans
_NODES = 16  # Gauss-Legendre nodes in a panel: exact to float32


class Curve(NamedTuple):
  """Turned and moved copies of one arm, drawn from uniformly in arc length, with round noise."""

  arm: Callable[[jax.Array], jax.Array]  # arc length in [0, length] to a point [2], at unit speed
  length: float
  turns: tuple[float, ...]  # radians about the origin, one for each copy
  offsets: tuple[tuple[float, float], ...]  # after the turn
  noise: float  # standard deviation in each coordinate


class Projection(NamedTuple):
  """Where a point lies: arc length of the nearest point, arms in a row, and the distance to it."""

  along: jax.Array
  across: jax.Array


def moons(noise: float = 0.05) -> Curve:
  """Two half circles of radius 1, interlocked; the second is the first turned over."""
  return Curve(
    lambda s: jnp.stack([jnp.cos(s), jnp.sin(s)]),
    length=math.pi,
    turns=(0.0, math.pi),
    offsets=((0.0, 0.0), (1.0, 0.5)),
    noise=noise,
  )


def spiral(arms: int = 2, noise: float = 0.02) -> Curve:
  """Arms that unwind from a circle of radius .1 (its involute) until they are 1 away from the middle.

  Turns lie .2 pi / arms apart, and the arc length has a closed form: a (t^2 - t_0^2) / 2 at the angle t.
  """
  radius, first, last = 0.1, 2.0, 10.0

  def arm(s: jax.Array) -> jax.Array:
    t = jnp.sqrt(first**2 + 2 * s / radius)
    return radius * jnp.stack([jnp.cos(t) + t * jnp.sin(t), jnp.sin(t) - t * jnp.cos(t)])

  return Curve(
    arm,
    length=radius * (last**2 - first**2) / 2,
    turns=tuple(2 * math.pi * i / arms for i in range(arms)),
    offsets=((0.0, 0.0),) * arms,
    noise=noise,
  )


def first_arm(curve: Curve) -> Curve:
  """Only the first arm."""
  return curve._replace(turns=curve.turns[:1], offsets=curve.offsets[:1])


def point_at(curve: Curve, which: jax.Array, s: jax.Array) -> jax.Array:
  """The point [2] of the arm `which` at arc length s."""
  turn = jnp.asarray(curve.turns)[which]
  x, y = curve.arm(s)
  turned = jnp.stack([x * jnp.cos(turn) - y * jnp.sin(turn), x * jnp.sin(turn) + y * jnp.cos(turn)])
  return turned + jnp.asarray(curve.offsets)[which]


def sample(curve: Curve, key: jax.Array) -> jax.Array:
  """One draw: [2]."""
  arm_key, length_key, noise_key = jax.random.split(key, 3)
  which = jax.random.randint(arm_key, (), 0, len(curve.turns))
  s = jax.random.uniform(length_key, maxval=curve.length)
  return point_at(curve, which, s) + curve.noise * jax.random.normal(noise_key, (2,))


def _nodes(curve: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Arms, arc lengths and quadrature weights of points all along the curve, [k] each."""
  panels = math.ceil(curve.length / (_PANEL * curve.noise))
  nodes, weights = np.polynomial.legendre.leggauss(_NODES)
  width = curve.length / panels
  s = (width * (np.arange(panels)[:, None] + (nodes[None] + 1) / 2)).ravel()
  arms = len(curve.turns)
  return (
    np.repeat(np.arange(arms), s.size),
    np.tile(s, arms),
    np.tile(weights, panels * arms) * width / 2,
  )


def log_density(curve: Curve, x: jax.Array) -> jax.Array:
  """Of one point [2], in nats: the noise's density averaged over the curve by Gauss-Legendre quadrature."""
  which, s, weights = _nodes(curve)
  points = jax.vmap(partial(point_at, curve))(jnp.asarray(which), jnp.asarray(s))
  squares = jnp.sum(((x[None] - points) / curve.noise) ** 2, axis=1)
  normaliser = math.log(len(curve.turns) * curve.length * 2 * math.pi * curve.noise**2)
  return jax.nn.logsumexp(jnp.log(jnp.asarray(weights)) - squares / 2) - normaliser


def density(curve: Curve) -> Density:
  """The noisy curve as functions of a key and of a point."""
  return Density(partial(sample, curve), partial(log_density, curve))


def project_onto_curve(curve: Curve, x: jax.Array) -> Projection:
  """The nearest point of the curve to one point [2]: the nearest node, and from there along its tangent."""
  which, s, _ = (jnp.asarray(array) for array in _nodes(curve))
  points = jax.vmap(partial(point_at, curve))(which, s)
  nearest = jnp.argmin(jnp.sum((x[None] - points) ** 2, axis=1))
  at = partial(point_at, curve, which[nearest])
  start = s[nearest]
  position, tangent = jax.jvp(at, (start,), (jnp.ones_like(start),))
  end = jnp.clip(start + jnp.dot(x - position, tangent), 0.0, curve.length)
  return Projection(which[nearest] * curve.length + end, jnp.linalg.norm(x - at(end)))


def curve_scores(curve: Curve, samples: jax.Array) -> dict[str, jax.Array]:
  """How samples [n, 2] lie along and across the curve.

  'ks_along' compares arc lengths with the uniform distribution: arms and stretches that are missing or
  crowded. 'ks_across' compares distances with those of the noise: too far as well as too near. 'ks' is
  their sum.
  """
  along, across = jax.vmap(partial(project_onto_curve, curve))(samples)
  total = len(curve.turns) * curve.length
  ks_along = ks_distance(along, lambda s: s / total)
  ks_across = ks_distance(across, lambda r: jax.lax.erf(r / (curve.noise * math.sqrt(2))))
  return {
    'off_curve': jnp.sqrt(jnp.mean(across**2)),
    'ks_along': ks_along,
    'ks_across': ks_across,
    'ks': ks_along + ks_across,
  }


def curve_distribution(name: str, curve: Curve, n: int = 2500) -> SyntheticDistribution:
  """Whether G follows the curve from end to end, at the right distance."""
  ends = (
    4 / (3 * math.sqrt(2 * math.pi)) * curve.noise / curve.length
  )  # noise that overshoots an arm
  return SyntheticDistribution(
    name,
    shape=(2,),
    sample=partial(sample, curve),
    log_density=partial(log_density, curve),
    score_samples=partial(curve_scores, curve),
    perfect_scores={
      'off_curve': curve.noise * math.sqrt(1 + ends),
      'ks_along': expected_ks_distance(n),
      'ks_across': expected_ks_distance(n),
      'ks': 2 * expected_ks_distance(n),
    },
    ranking_score='ks',
    higher_is_better=False,
    n_scored=n,
    extent=(-1.5, 2.5, -1.0, 1.5) if name == 'moons' else (-1.25, 1.25, -1.25, 1.25),
  )
