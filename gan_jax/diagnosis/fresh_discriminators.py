"""Trains fresh discriminators, called probes, on vectors of held-out data and of a frozen generator's samples.

Their test cross-entropy bounds the divergence of samples from data. Probes of several widths train as one
program; kernel densities of a part of the examples are further inputs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from gan_jax.diagnosis.probe_calibration import calibrate_scores
from gan_jax.diagnosis.probe_types import ProbeScores
from gan_jax.metrics.nearest_neighbours import kth_squared_distance, squared_distances

NOISE_LEVELS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)  # standard deviations, in units of the data's
HIDDEN_WIDTHS = (0, 16, 64)  # units per hidden layer of each probe; 0 is a linear probe
_BATCH = 256  # examples of each set
_STEPS = 400
_VALIDATE_EVERY = 25  # steps
_BANDWIDTHS = 6  # of the kernels, each twice the last
_LOG_FLOOR = -40.0  # least log kernel sum
_TILE = 128

Params = dict[str, jax.Array]


class ProbeSplits(NamedTuple):
  """Holds one set of examples [n, d] in four disjoint parts [n_i, d]."""

  reference: jax.Array  # centres of the kernel densities
  train: jax.Array
  validation: jax.Array  # selects the step and the width
  test: jax.Array


def kernel_density_features(points: jax.Array, real: jax.Array, fake: jax.Array) -> jax.Array:
  """Computes log-ratios and maxima of two kernel densities at points [n, d]: [n, 2 bandwidths].

  The centres are `real` and `fake` [m, d]. Bandwidths double from the median nearest-neighbour distance of
  `real`. The first columns are the log-ratios of both kernel sums, the others the log of the larger sum.
  """
  some = real[:1000]
  squares = kth_squared_distance(some, jnp.arange(len(some)), real, 1)
  # Duplicates have distance 0, a bandwidth must not.
  narrowest = jnp.maximum(jnp.sqrt(jnp.median(squares)), 1e-4)
  widest = narrowest * 2.0 ** (_BANDWIDTHS - 1)

  def log_sums(tile: jax.Array, centres: jax.Array) -> jax.Array:
    exponent = -squared_distances(tile, centres) / (2 * widest**2)
    # Relative to the nearest centre, so that narrow kernels do not underflow at all centres.
    top = exponent.max(axis=1)
    # XLA may round the exponent differently here and in `top`; powers would amplify an excess over 0.
    terms = jnp.exp(jnp.minimum(exponent - top[:, None], 0))
    sums = []
    for i in range(_BANDWIDTHS):
      sums.append(jnp.log(terms.mean(axis=1)) + top * 4.0**i)
      terms = (terms * terms) ** 2  # the kernel of half the bandwidth
    return jnp.stack(sums, axis=1)

  def features(tile: jax.Array) -> jax.Array:
    real_sums, fake_sums = (jnp.logaddexp(log_sums(tile, x), _LOG_FLOOR) for x in (real, fake))
    return jnp.concatenate([real_sums - fake_sums, jnp.maximum(real_sums, fake_sums)], axis=1)

  n = len(points)
  tiles = jnp.pad(points, ((0, -n % _TILE), (0, 0))).reshape(-1, _TILE, points.shape[1])
  return lax.map(features, tiles).reshape(-1, 2 * _BANDWIDTHS)[:n]


def prepare_probe_inputs(
  key: jax.Array, real: ProbeSplits, fake: ProbeSplits, sigma: jax.Array
) -> tuple[ProbeSplits, ProbeSplits]:
  """Adds noise of std `sigma` to both sets, appends kernel density features, and standardizes each column."""
  keys = jax.random.split(key, 2)

  def add_noise(key: jax.Array, splits: ProbeSplits) -> ProbeSplits:
    keyed = zip(jax.random.split(key, len(splits)), splits, strict=True)
    return ProbeSplits(*(x + sigma * jax.random.normal(key, x.shape) for key, x in keyed))

  real, fake = add_noise(keys[0], real), add_noise(keys[1], fake)
  origin = real.reference.mean(axis=0, keepdims=True)
  centres = (real.reference - origin, fake.reference - origin)

  def with_features(x: jax.Array) -> jax.Array:
    return jnp.concatenate([x, kernel_density_features(x - origin, *centres)], axis=1)

  real, fake = (ProbeSplits(x.reference, *map(with_features, x[1:])) for x in (real, fake))
  both = jnp.concatenate([real.train, fake.train])
  mean, std = both.mean(axis=0, keepdims=True), both.std(axis=0, keepdims=True)
  standardize = lambda x: jnp.clip((x - mean) / jnp.maximum(std, 1e-6), -10, 10)
  real, fake = (ProbeSplits(x.reference, *map(standardize, x[1:])) for x in (real, fake))
  return real, fake


def init_probe(key: jax.Array, d: int) -> Params:
  """Initializes a probe of inputs [n, d] whose logits are 0."""
  width = max(HIDDEN_WIDTHS)
  first, second = jax.random.split(key)
  return {
    'in': jax.random.normal(first, (d, width)) * jnp.sqrt(2 / d),
    'in_bias': jnp.zeros(width),
    'hidden': jax.random.normal(second, (width, width)) * jnp.sqrt(2 / width),
    'hidden_bias': jnp.zeros(width),
    'out': jnp.zeros(width),
    'skip': jnp.zeros(d),  # from inputs to the logit
    'bias': jnp.zeros(()),
  }


def apply_probe(params: Params, width: jax.Array, x: jax.Array) -> jax.Array:
  """Computes the logits [n] of a probe on inputs [n, d]; only its first `width` hidden units are active."""
  mask = (jnp.arange(params['out'].shape[0]) < width).astype(x.dtype)[None]
  # Fewer units, larger weights: activations of all widths start at the same scale.
  scale = jnp.sqrt(mask.size / jnp.maximum(width, 1))
  x1 = jax.nn.relu(x @ params['in'] + params['in_bias'][None]) * mask
  x2 = jax.nn.relu(scale * (x1 @ params['hidden']) + params['hidden_bias'][None]) * mask
  return x2 @ params['out'] + x @ params['skip'] + params['bias']


def cross_entropy(params: Params, width: jax.Array, real: jax.Array, fake: jax.Array) -> jax.Array:
  """Computes a probe's cross-entropy on the equal mixture of both sets, in nats: log 2 for logits of 0."""
  real_logits, fake_logits = apply_probe(params, width, real), apply_probe(params, width, fake)
  return (jax.nn.softplus(-real_logits).mean() + jax.nn.softplus(fake_logits).mean()) / 2


class _Probe(NamedTuple):
  params: Params
  opt_state: optax.OptState
  best_params: Params
  best_cross_entropy: jax.Array  # of `best_params`, on the validation part


def _train_probe(key: jax.Array, width: jax.Array, real: ProbeSplits, fake: ProbeSplits) -> _Probe:
  """Trains one probe, with its best parameters by validation cross-entropy."""
  tx = optax.adamw(optax.cosine_decay_schedule(3e-3, _STEPS), weight_decay=1e-3)
  init_key, order_key = jax.random.split(key)
  params = init_probe(init_key, real.train.shape[1])

  def step(i: jax.Array, probe: _Probe) -> _Probe:
    draw = lambda key, x: x[jax.random.randint(key, (_BATCH,), 0, len(x))]
    real_key, fake_key = jax.random.split(jax.random.fold_in(order_key, i))
    batches = (draw(real_key, real.train), draw(fake_key, fake.train))
    grads = jax.grad(cross_entropy)(probe.params, width, *batches)
    updates, opt_state = tx.update(grads, probe.opt_state, probe.params)
    return probe._replace(params=optax.apply_updates(probe.params, updates), opt_state=opt_state)

  def train_and_validate(i: jax.Array, probe: _Probe) -> _Probe:
    probe = lax.fori_loop(i * _VALIDATE_EVERY, (i + 1) * _VALIDATE_EVERY, step, probe)
    value = cross_entropy(probe.params, width, real.validation, fake.validation)
    better, least = value < probe.best_cross_entropy, jnp.minimum(value, probe.best_cross_entropy)
    best = jax.tree.map(lambda a, b: jnp.where(better, a, b), probe.params, probe.best_params)
    return probe._replace(best_params=best, best_cross_entropy=least)

  start = _Probe(params, tx.init(params), params, jnp.log(2.0))
  return lax.fori_loop(0, _STEPS // _VALIDATE_EVERY, train_and_validate, start)


def train_vector_probes(
  seed: int, name: str, real: ProbeSplits, fake: ProbeSplits, sigma: float = 0.0
) -> ProbeScores:
  """Trains a probe of each width to separate real from fake rows, and returns the scores of the best.

  Noise of std `sigma` is added to all rows. Validation rows select the step and the width, and calibrate.
  """
  key = jax.random.key(seed)
  logits, _ = _train_and_apply(key, real, fake, sigma)
  # By probe: real and fake validation logits, real and fake test logits.
  per_probe = zip(*(np.asarray(x) for x in logits), strict=True)
  scores = [calibrate_scores(name, tuple(x[:2]), tuple(x[2:])) for x in per_probe]
  return min(scores, key=lambda probe: probe.validation_cross_entropy)


@jax.jit
def _train_and_apply(
  key: jax.Array, real: ProbeSplits, fake: ProbeSplits, sigma: float | jax.Array
) -> tuple[tuple[jax.Array, ...], jax.Array]:
  """Returns all probes' logits of real and fake validation rows and test rows, [widths, n_i] each.

  Also returns the validation cross-entropies [widths] by which the step was chosen.
  """
  input_key, probe_key = jax.random.split(key)
  inputs = prepare_probe_inputs(input_key, real, fake, jnp.asarray(sigma))
  # One program for all widths, by masks.
  widths, keys = jnp.asarray(HIDDEN_WIDTHS), jax.random.split(probe_key, len(HIDDEN_WIDTHS))
  probes = jax.vmap(lambda key, width: _train_probe(key, width, *inputs))(keys, widths)
  apply = jax.vmap(apply_probe, in_axes=(0, 0, None))
  sets = (inputs[0].validation, inputs[1].validation, inputs[0].test, inputs[1].test)
  logits = tuple(apply(probes.best_params, widths, x) for x in sets)
  return logits, probes.best_cross_entropy
