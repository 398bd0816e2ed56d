"""Computes the shuffled order of examples as a keyed permutation per epoch, without storing it."""

import jax
import jax.numpy as jnp
from jax import lax

_N_ROUNDS = 6


def _mix_bits(x: jax.Array) -> jax.Array:
  """Scatters the bits of uint32 numbers (the finaliser of MurmurHash3)."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def _feistel_permutation(round_keys: jax.Array, position: jax.Array, half_bits: int) -> jax.Array:
  """Applies a keyed bijection of [0, 4 ** half_bits): a balanced Feistel network (Luby & Rackoff, 1988)."""
  low_mask = jnp.uint32((1 << half_bits) - 1)
  left, right = position >> half_bits, position & low_mask
  for i in range(_N_ROUNDS):
    left, right = right, left ^ (_mix_bits(right ^ round_keys[i]) & low_mask)
  return (left << half_bits) | right


def shuffled_indices(key: jax.Array, positions: jax.Array, n: int) -> jax.Array:
  """Returns example indices int32 [m] at `positions` uint32 [m] of an endless shuffled stream of n examples.

  Each epoch visits every example once, in an order computed in constant time and memory from (key, epoch),
  so a resumed run needs no stored position. The stream repeats after 2 ** 32 examples.
  """
  half_bits = max(1, ((n - 1).bit_length() + 1) // 2)

  def index_at(position: jax.Array) -> jax.Array:
    epoch, position = position // jnp.uint32(n), position % jnp.uint32(n)
    round_keys = jax.random.bits(jax.random.fold_in(key, epoch), (_N_ROUNDS,), jnp.uint32)
    # Cycle walking: applied until the result is below n, the permutation of the larger domain becomes
    # a bijection of [0, n) (Black & Rogaway, 2002).
    return lax.while_loop(
      lambda index: index >= n,
      lambda index: _feistel_permutation(round_keys, index, half_bits),
      _feistel_permutation(round_keys, position, half_bits),
    ).astype(jnp.int32)

  return jax.vmap(index_at)(positions.astype(jnp.uint32))
