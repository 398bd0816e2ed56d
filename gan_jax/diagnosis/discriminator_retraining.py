"""Trains a new discriminator of a run's own architecture against frozen samples.

Where it separates data from samples and the run's own D does not, training of D was at fault, and not D's
architecture.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from gan_jax.data.device_batches import Batch
from gan_jax.data.image_arrays import global_contrast_normalize, uint8_to_float
from gan_jax.diagnosis.probe_calibration import calibrate_scores, calibrated_cross_entropy
from gan_jax.diagnosis.probe_types import ExampleParts, ProbeScores
from gan_jax.distributed import hlo_analysis
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.forward import apply_discriminator
from gan_jax.gan.gan import Gan, GanState, PyTree, Weights
from gan_jax.gan.losses import cross_entropy

NAME = "the run's own D, trained anew"
MAX_FLOPS = 5e11  # of all updates, in matrix products and convolutions
_STEPS = (40, 1500)  # updates at least and at most, within `MAX_FLOPS` beyond the least
_BATCH = 100  # examples of each set
_VALIDATE_EVERY = 20  # steps
_PATIENCE = 5  # validations without a better cross-entropy
_ENOUGH = 0.01  # nats, a cross-entropy below which training ends
_N_VALIDATION = 1000  # examples of each set, at most, by which the step is chosen
_CHUNK = 256  # examples whose logits are computed together
_RATE = 1e-3
_NO_LABELS = (None, None, None)  # of the three parts


class LabelParts(NamedTuple):
  """Holds the labels int32 [n_i] of the `ExampleParts` of data and of samples."""

  real: ExampleParts
  fake: ExampleParts


def retrain_discriminator(
  seed: int,
  gan: Gan,
  state: GanState,
  real: ExampleParts,
  fake: ExampleParts,
  labels: LabelParts | None = None,
  max_flops: float = MAX_FLOPS,
) -> ProbeScores:
  """Trains a new D on the training parts by cross-entropy with Adam, and scores the test parts.

  Dropout, normalisation, augmentation and instance noise are those of the run, penalties are left out.

  Args:
    seed: of the initial weights, the order of examples, dropout and augmentation.
    gan: of the run.
    state: of the run, for the probability of augmentation and the instance noise.
    real: uint8 images [n, h, w, c] or points [n, d], in the unit of the run's data.
    fake: samples of the same kind.
    labels: of all examples; required by a conditional D.
    max_flops: bound on the cost, by which the number of updates is set.

  Raises ValueError where a conditional D gets no labels.
  """
  if gan.n_classes and labels is None:
    raise ValueError('a conditional discriminator needs the labels of all examples')
  rng = np.random.default_rng([seed, 0xD15C])
  all_labels: Any = labels if labels is not None and gan.n_classes else (_NO_LABELS, _NO_LABELS)
  pairs: Any = zip((real, fake), all_labels, strict=True)
  sets = [[Batch(*both) for both in zip(*pair, strict=True)] for pair in pairs]
  key = jax.random.key(seed)
  batches = [_draw(rng, parts[0]) for parts in sets]
  weights = _init(gan, key, *batches)
  opt_state = jax.tree.map(
    lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(_optimizer().init, weights.params)
  )
  held_out = [_first(parts[1], _N_VALIDATION) for parts in sets]
  best, best_weights, since = math.inf, weights, 0
  for step in range(1, _n_updates(gan, state, weights, opt_state, batches, max_flops) + 1):
    step_key = jax.random.fold_in(key, step)
    weights, opt_state = _update(gan, step_key, state, weights, opt_state, *batches)
    batches = [_draw(rng, parts[0]) for parts in sets]
    if step % _VALIDATE_EVERY:
      continue
    value = calibrated_cross_entropy(*(_logits(gan, weights, x) for x in held_out))
    best, best_weights, since = (
      (value, weights, 0) if value < best else (best, best_weights, since + 1)
    )
    if best < _ENOUGH or since >= _PATIENCE:
      break
  validation, test = (tuple(_logits(gan, best_weights, parts[i]) for parts in sets) for i in (1, 2))
  return calibrate_scores(NAME, (validation[0], validation[1]), (test[0], test[1]))


def _draw(rng: np.random.Generator, examples: Batch) -> Batch:
  return _take(examples, rng.integers(0, len(examples.images), _BATCH))


def _first(examples: Batch, n: int) -> Batch:
  return _take(examples, np.arange(min(n, len(examples.images))))


def _take(examples: Batch, index: np.ndarray) -> Batch:
  return Batch(examples.images[index], None if examples.labels is None else examples.labels[index])


def _scaled(gan: Gan, examples: Batch) -> Batch:
  """Maps uint8 images to what the run's networks receive; leaves points as they are."""
  x = jnp.asarray(examples.images)
  if x.dtype != jnp.uint8:
    return examples._replace(images=x.astype(jnp.float32))
  scaled = global_contrast_normalize(x, gan.contrast) if gan.contrast else uint8_to_float(x)
  return examples._replace(images=scaled)


def _optimizer() -> optax.GradientTransformation:
  return optax.adam(_RATE, b1=0.5)


@functools.partial(jax.jit, static_argnums=0)
def _init(gan: Gan, key: Array, real: Batch, fake: Batch) -> Weights:
  del fake
  example = _scaled(gan, real)
  labels = None if example.labels is None else example.labels[:1]
  variables = dict(gan.discriminator.init(key, example.images[:1], labels, train=False))
  return Weights(variables.pop('params'), variables)


def _updated(
  gan: Gan,
  key: Array,
  state: GanState,
  weights: Weights,
  opt_state: optax.OptState,
  real: Batch,
  fake: Batch,
) -> tuple[Weights, optax.OptState]:
  """Returns D's weights and the optimizer's state after one update on a batch of both sets."""
  real, fake = _scaled(gan, real), _scaled(gan, fake)
  keys = jax.random.split(key)

  def loss_fn(params: PyTree) -> tuple[Array, PyTree]:
    d = weights.replace(params=params)
    real_logits, stats = apply_discriminator(gan, state, d, keys[0], real, None)
    d = d.replace(stats=stats)
    fake_logits, stats = apply_discriminator(gan, state, d, keys[1], fake, None)
    return cross_entropy(real_logits, fake_logits) / 2, stats

  grads, stats = jax.grad(loss_fn, has_aux=True)(weights.params)
  updates, opt_state = _optimizer().update(grads, opt_state, weights.params)
  return Weights(optax.apply_updates(weights.params, updates), stats), opt_state


_update = functools.partial(jax.jit, static_argnums=0)(_updated)


@functools.partial(jax.jit, static_argnums=0)
def _apply(gan: Gan, weights: Weights, examples: Batch) -> Array:
  scaled = _scaled(gan, examples)
  return gan_lib.logits(gan, weights, scaled.images, scaled.labels)


def _logits(gan: Gan, weights: Weights, examples: Batch) -> np.ndarray:
  """Returns D's logits [n]; the last chunk is filled up, so that one program serves any number of examples."""
  n = len(examples.images)
  chunks = (np.arange(i, i + _CHUNK) % n for i in range(0, n, _CHUNK))
  return np.concatenate([np.asarray(_apply(gan, weights, _take(examples, i))) for i in chunks])[:n]


def _n_updates(
  gan: Gan,
  state: GanState,
  weights: Weights,
  opt_state: optax.OptState,
  batches: list[Batch],
  max_flops: float,
) -> int:
  """Returns the number of updates that `max_flops` pay for, within the limits."""
  key = jax.random.key(0)
  trace = jax.make_jaxpr(functools.partial(_updated, gan))(key, state, weights, opt_state, *batches)
  flops = hlo_analysis.count_flops(trace.jaxpr, 1.0)
  return int(np.clip(max_flops / max(flops, 1.0), *_STEPS)) // _VALIDATE_EVERY * _VALIDATE_EVERY
