"""Defines curves in the plane with Gaussian noise around them: two moons, and spirals."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.synthetic.distribution import Density, SyntheticDistribution
from gan_jax.metrics.kolmogorov_smirnov import expected_ks_distance, ks_distance

_PANEL_LENGTH = 4.0  # of a panel of the quadrature, in standard deviations of the noise
_PANEL_NODES = 16  # Gauss-Legendre nodes per panel: exact to float32


class Curve(NamedTuple):
  """Holds a curve of rotated and shifted copies of one arm, uniform in arc length, with isotropic noise."""

  arm: Callable[[jax.Array], jax.Array]  # arc length in [0, length] to a point [2]
  length: float
  turns: tuple[float, ...]  # rotation about the origin in radians, one per arm
  offsets: tuple[tuple[float, float], ...]  # shift after the rotation, one per arm
  noise: float  # standard deviation in each coordinate


class Projection(NamedTuple):
  """Holds the nearest point of a curve, by its arc length over all arms in turn, and the distance to it."""

  arc_length: jax.Array
  distance: jax.Array


def moons(noise: float = 0.05) -> Curve:
  """Returns two interlocked half circles of radius 1."""
  arm = lambda s: jnp.stack([jnp.cos(s), jnp.sin(s)])
  return Curve(arm, math.pi, turns=(0.0, math.pi), offsets=((0.0, 0.0), (1.0, 0.5)), noise=noise)


def spiral(arms: int = 2, noise: float = 0.02) -> Curve:
  """Returns a spiral of involutes of a circle of radius a = .1, which end at radius 1.

  Windings lie .2 pi / arms apart. The arc length at the angle t is a (t^2 - t_0^2) / 2.
  """
  radius, first, last = 0.1, 2.0, 10.0

  def arm(s: jax.Array) -> jax.Array:
    t = jnp.sqrt(first**2 + 2 * s / radius)
    return radius * jnp.stack([jnp.cos(t) + t * jnp.sin(t), jnp.sin(t) - t * jnp.cos(t)])

  length = radius * (last**2 - first**2) / 2
  turns = tuple(2 * math.pi * i / arms for i in range(arms))
  return Curve(arm, length, turns, offsets=((0.0, 0.0),) * arms, noise=noise)


def first_arm(curve: Curve) -> Curve:
  """Returns the curve with its first arm only."""
  return curve._replace(turns=curve.turns[:1], offsets=curve.offsets[:1])


def point_at(curve: Curve, which: jax.Array, s: jax.Array) -> jax.Array:
  """Returns the point [2] of the arm of index `which` at arc length s."""
  turn = jnp.asarray(curve.turns)[which]
  x, y = curve.arm(s)
  turned = jnp.stack([x * jnp.cos(turn) - y * jnp.sin(turn), x * jnp.sin(turn) + y * jnp.cos(turn)])
  return turned + jnp.asarray(curve.offsets)[which]


def sample(curve: Curve, key: jax.Array) -> jax.Array:
  """Draws one point [2]."""
  arm_key, length_key, noise_key = jax.random.split(key, 3)
  which = jax.random.randint(arm_key, (), 0, len(curve.turns))
  s = jax.random.uniform(length_key, maxval=curve.length)
  return point_at(curve, which, s) + curve.noise * jax.random.normal(noise_key, (2,))


def _quadrature_nodes(curve: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns arm indices, arc lengths and quadrature weights, [k] each, of nodes along all arms."""
  panels = math.ceil(curve.length / (_PANEL_LENGTH * curve.noise))
  nodes, weights = np.polynomial.legendre.leggauss(_PANEL_NODES)
  width = curve.length / panels
  s = (width * (np.arange(panels)[:, None] + (nodes[None] + 1) / 2)).ravel()
  arms = len(curve.turns)
  which = np.repeat(np.arange(arms), s.size)
  return which, np.tile(s, arms), np.tile(weights, panels * arms) * width / 2


def log_density(curve: Curve, x: jax.Array) -> jax.Array:
  """Returns the log-density at one point [2], in nats, by Gauss-Legendre quadrature along the curve."""
  which, s, weights = _quadrature_nodes(curve)
  points = jax.vmap(partial(point_at, curve))(jnp.asarray(which), jnp.asarray(s))
  squares = jnp.sum(((x[None] - points) / curve.noise) ** 2, axis=1)
  normaliser = math.log(len(curve.turns) * curve.length * 2 * math.pi * curve.noise**2)
  return jax.nn.logsumexp(jnp.log(jnp.asarray(weights)) - squares / 2) - normaliser


def density(curve: Curve) -> Density:
  """Returns the sampler and log-density of the noisy curve."""
  return Density(partial(sample, curve), partial(log_density, curve))


def project_onto_curve(curve: Curve, x: jax.Array) -> Projection:
  """Projects one point [2] onto the curve: onto the tangent at the nearest quadrature node."""
  which, s, _ = (jnp.asarray(array) for array in _quadrature_nodes(curve))
  points = jax.vmap(partial(point_at, curve))(which, s)
  nearest = jnp.argmin(jnp.sum((x[None] - points) ** 2, axis=1))
  arm = partial(point_at, curve, which[nearest])
  start = s[nearest]
  position, tangent = jax.jvp(arm, (start,), (jnp.ones_like(start),))
  end = jnp.clip(start + jnp.dot(x - position, tangent), 0.0, curve.length)
  return Projection(which[nearest] * curve.length + end, jnp.linalg.norm(x - arm(end)))


def curve_scores(curve: Curve, samples: jax.Array) -> dict[str, jax.Array]:
  """Scores samples [n, 2] by their arc lengths and distances on the curve.

  'off_curve' is the root mean square distance. 'ks_along' compares arc lengths with the uniform
  distribution, and rises with missing or crowded parts of the curve. 'ks_across' compares distances with
  those of the noise. 'ks' is the sum of both.
  """
  arc_lengths, distances = jax.vmap(partial(project_onto_curve, curve))(samples)
  total = len(curve.turns) * curve.length
  ks_along = ks_distance(arc_lengths, lambda s: s / total)
  ks_across = ks_distance(distances, lambda r: jax.lax.erf(r / (curve.noise * math.sqrt(2))))
  off_curve = jnp.sqrt(jnp.mean(distances**2))
  return dict(off_curve=off_curve, ks_along=ks_along, ks_across=ks_across, ks=ks_along + ks_across)


def curve_distribution(name: str, curve: Curve, n: int = 2500) -> SyntheticDistribution:
  """Returns a noisy curve, scored by the distribution of n samples along and across it."""
  # The noise beyond the ends of an arm adds to the mean squared distance.
  ends = 4 / (3 * math.sqrt(2 * math.pi)) * curve.noise / curve.length
  off_curve, ks = curve.noise * math.sqrt(1 + ends), expected_ks_distance(n)
  return SyntheticDistribution(
    name,
    shape=(2,),
    sample=partial(sample, curve),
    log_density=partial(log_density, curve),
    score_samples=partial(curve_scores, curve),
    perfect_scores=dict(off_curve=off_curve, ks_along=ks, ks_across=ks, ks=2 * ks),
    ranking_score='ks',
    n_scored=n,
    extent=(-1.5, 2.5, -1.0, 1.5) if name == 'moons' else (-1.25, 1.25, -1.25, 1.25),
  )
