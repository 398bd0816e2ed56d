"""Fresh discriminators: how far samples are from data, asked of networks that never met the generator.

A frozen generator's samples and held-out data, each cut into four parts: references for kernel
densities, a part to learn from, one to choose by, and one on which the chosen probe is scored. Probes of
several capacities learn in an arena (a level of noise, or real against real) as one population.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from gan_jax.metrics.nearest_neighbours import kth_squared_distance, squared_distances

NOISE_LEVELS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)  # sigma, in standard deviations of the data
SPLIT_SHARES = (0.4, 0.3, 0.1)  # of a set: references, to learn from, to choose by; the rest scores
HIDDEN_WIDTHS = (0, 16, 64)  # hidden units of the probes; 0 is a linear one
MIN_EXAMPLES = 200  # examples of a set below which no probe is asked
_BATCH = 256  # of each set
_STEPS = 400
_LOOK_EVERY = 25  # steps between looks at the part to choose by
_BANDWIDTHS = 6  # each twice the one before
_FLOOR = -40.0  # of a log kernel sum: farther away is only far away
_TILE = 128

Params = dict[str, jax.Array]


class ProbeSplits(NamedTuple):
  """One set of examples [n, d] in its four parts, [n_i, d] each."""

  reference: jax.Array
  fit: jax.Array
  choose: jax.Array
  score: jax.Array


def split_examples(examples: jax.Array, n: int) -> ProbeSplits:
  """The first n of examples [n, ...] in four parts."""
  cuts = np.cumsum([int(share * n) for share in SPLIT_SHARES])
  return ProbeSplits(*jnp.split(examples[:n], cuts.tolist()))


def kernel_density_features(points: jax.Array, real: jax.Array, fake: jax.Array) -> jax.Array:
  """What kernel densities of `real` and `fake` references [m, d] say of points [n, d]: [n, 2 bandwidths].

  For each bandwidth, from the median distance of neighbouring real references on, in doubling steps:
  the log of the ratio of both sums, and the log of the larger of them.
  """
  some = real[:1000]
  squares = kth_squared_distance(some, jnp.arange(len(some)), real, 1)
  # Copies lie at distance 0; a bandwidth has to be wider than that.
  least = jnp.maximum(jnp.sqrt(jnp.median(squares)), 1e-4)
  widest = least * 2.0 ** (_BANDWIDTHS - 1)

  def log_sums(tile: jax.Array, references: jax.Array) -> jax.Array:
    exponent = -squared_distances(tile, references) / (2 * widest**2)
    # Above the nearest reference alone, lest a narrow kernel underflow everywhere.
    top = exponent.max(axis=1)
    # Fused anew, a distance may come out a little smaller than it was for `top`; powers would blow that up.
    terms = jnp.exp(jnp.minimum(exponent - top[:, None], 0))
    sums = []
    for i in range(_BANDWIDTHS):
      sums.append(jnp.log(terms.mean(axis=1)) + top * 4.0**i)
      terms = (terms * terms) ** 2  # the kernel of half the bandwidth
    return jnp.stack(sums, axis=1)

  def visit(tile: jax.Array) -> jax.Array:
    ours = jnp.logaddexp(log_sums(tile, real), _FLOOR)
    theirs = jnp.logaddexp(log_sums(tile, fake), _FLOOR)
    return jnp.concatenate([ours - theirs, jnp.maximum(ours, theirs)], axis=1)

  n = len(points)
  tiles = jnp.pad(points, ((0, -n % _TILE), (0, 0))).reshape(-1, _TILE, points.shape[1])
  return lax.map(visit, tiles).reshape(-1, 2 * _BANDWIDTHS)[:n]


def prepare_probe_inputs(
  key: jax.Array, real: ProbeSplits, fake: ProbeSplits, sigma: jax.Array
) -> tuple[ProbeSplits, ProbeSplits]:
  """Both sets under the same noise, each example with what kernel densities say of it, all to scale."""
  keys = jax.random.split(key, 2)

  def blur(key: jax.Array, parts: ProbeSplits) -> ProbeSplits:
    keys = jax.random.split(key, len(parts))
    return ProbeSplits(
      *(x + sigma * jax.random.normal(k, x.shape) for k, x in zip(keys, parts, strict=True))
    )

  real, fake = blur(keys[0], real), blur(keys[1], fake)
  origin = real.reference.mean(axis=0, keepdims=True)
  ours, theirs = real.reference - origin, fake.reference - origin

  def described(x: jax.Array) -> jax.Array:
    return jnp.concatenate([x, kernel_density_features(x - origin, ours, theirs)], axis=1)

  real, fake = (ProbeSplits(x.reference, *map(described, x[1:])) for x in (real, fake))
  both = jnp.concatenate([real.fit, fake.fit])
  mean, std = both.mean(axis=0, keepdims=True), both.std(axis=0, keepdims=True)

  def scaled(x: jax.Array) -> jax.Array:
    return jnp.clip((x - mean) / jnp.maximum(std, 1e-6), -10, 10)

  return tuple(ProbeSplits(x.reference, *map(scaled, x[1:])) for x in (real, fake))  # type: ignore[return-value]


def init_probe(key: jax.Array, d: int) -> Params:
  """A probe of inputs [n, d] that says nothing yet: its logits are 0."""
  width = max(HIDDEN_WIDTHS)
  first, second = jax.random.split(key)
  return {
    'in': jax.random.normal(first, (d, width)) * jnp.sqrt(2 / d),
    'in_bias': jnp.zeros(width),
    'hidden': jax.random.normal(second, (width, width)) * jnp.sqrt(2 / width),
    'hidden_bias': jnp.zeros(width),
    'out': jnp.zeros(width),
    'past': jnp.zeros(d),  # a linear way past the hidden layers
    'bias': jnp.zeros(()),
  }


def apply_probe(params: Params, width: jax.Array, x: jax.Array) -> jax.Array:
  """The logits [n] of a probe of so many hidden units on inputs [n, d]."""
  on = (jnp.arange(params['out'].shape[0]) < width).astype(x.dtype)[None]
  # Fewer units, larger weights: each width starts at the same scale.
  scale = jnp.sqrt(on.size / jnp.maximum(width, 1))
  x1 = jax.nn.relu(x @ params['in'] + params['in_bias'][None]) * on
  x2 = jax.nn.relu(scale * (x1 @ params['hidden']) + params['hidden_bias'][None]) * on
  return x2 @ params['out'] + x @ params['past'] + params['bias']


def probe_cross_entropy(
  params: Params, width: jax.Array, real: jax.Array, fake: jax.Array
) -> jax.Array:
  """Of one probe on the equal mixture of both, in nats: log 2 where it says nothing."""
  ours, theirs = apply_probe(params, width, real), apply_probe(params, width, fake)
  return (jax.nn.softplus(-ours).mean() + jax.nn.softplus(theirs).mean()) / 2


class _Probe(NamedTuple):
  params: Params
  opt_state: optax.OptState
  best: Params
  least: jax.Array  # cross-entropy of `best` on the part to choose by


def _learn(key: jax.Array, width: jax.Array, real: ProbeSplits, fake: ProbeSplits) -> _Probe:
  """One probe that learned on one arena; `best` is what it was when it chose best."""
  tx = optax.adamw(optax.cosine_decay_schedule(3e-3, _STEPS), weight_decay=1e-3)
  init_key, order_key = jax.random.split(key)
  params = init_probe(init_key, real.fit.shape[1])

  def step(i: jax.Array, probe: _Probe) -> _Probe:
    rows = [
      jax.random.randint(k, (_BATCH,), 0, len(x))
      for k, x in zip(
        jax.random.split(jax.random.fold_in(order_key, i)), (real.fit, fake.fit), strict=True
      )
    ]
    grads = jax.grad(probe_cross_entropy)(probe.params, width, real.fit[rows[0]], fake.fit[rows[1]])
    updates, opt_state = tx.update(grads, probe.opt_state, probe.params)
    return probe._replace(params=optax.apply_updates(probe.params, updates), opt_state=opt_state)

  def stretch(i: jax.Array, probe: _Probe) -> _Probe:
    probe = lax.fori_loop(i * _LOOK_EVERY, (i + 1) * _LOOK_EVERY, step, probe)
    found = probe_cross_entropy(probe.params, width, real.choose, fake.choose)
    better = found < probe.least
    best = jax.tree.map(lambda a, b: jnp.where(better, a, b), probe.params, probe.best)
    return probe._replace(best=best, least=jnp.minimum(found, probe.least))

  start = _Probe(params, tx.init(params), params, jnp.log(2.0))
  return lax.fori_loop(0, _STEPS // _LOOK_EVERY, stretch, start)


@functools.partial(jax.jit, static_argnames='n')
def train_probes(
  key: jax.Array, real: jax.Array, fake: jax.Array, sigma: float | jax.Array, n: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """What the best of fresh probes says of `fake` [m, d] beside `real` [m, d], the first n of each.

  Both are seen under noise of `sigma`, in the unit of the data. Returns the logits of real and of fake
  examples on the part that scores, [s] each, and the cross-entropy [widths] by which the best was chosen.
  """
  arena_key, probe_key = jax.random.split(key)
  ours, theirs = prepare_probe_inputs(
    arena_key, split_examples(real, n), split_examples(fake, n), jnp.asarray(sigma)
  )
  # One program for all capacities: what a probe has too many of is masked.
  widths, keys = jnp.asarray(HIDDEN_WIDTHS), jax.random.split(probe_key, len(HIDDEN_WIDTHS))
  probes = jax.vmap(lambda key, width: _learn(key, width, ours, theirs))(keys, widths)
  chosen = jnp.argmin(probes.least)
  best = jax.tree.map(lambda x: x[chosen], probes.best)
  return (
    apply_probe(best, widths[chosen], ours.score),
    apply_probe(best, widths[chosen], theirs.score),
    probes.least,
  )
