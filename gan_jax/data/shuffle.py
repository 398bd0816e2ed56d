"""Which examples come next: an endless shuffled stream that is computed and never stored."""

import jax
import jax.numpy as jnp
from jax import lax

_ROUNDS = 6


def _mix(x: jax.Array) -> jax.Array:
  """Scatter the bits of uint32 numbers (the finaliser of MurmurHash3)."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def _permute(round_keys: jax.Array, position: jax.Array, half_bits: int) -> jax.Array:
  """A keyed bijection of [0, 4 ** half_bits): a balanced Feistel network (Luby & Rackoff, 1988)."""
  low_mask = jnp.uint32((1 << half_bits) - 1)
  left, right = position >> half_bits, position & low_mask
  for i in range(_ROUNDS):
    left, right = right, left ^ (_mix(right ^ round_keys[i]) & low_mask)
  return (left << half_bits) | right


def shuffled_indices(key: jax.Array, positions: jax.Array, n: int) -> jax.Array:
  """Examples [m] at `positions` [m] (uint32) of a stream that visits each of n examples once per epoch.

  Every epoch has an order of its own, found in constant time and memory from (key, epoch), so a resumed
  run needs no position but its step. After 2 ** 32 examples the stream starts again.
  """
  half_bits = max(1, ((n - 1).bit_length() + 1) // 2)

  def one(position: jax.Array) -> jax.Array:
    epoch, position = position // jnp.uint32(n), position % jnp.uint32(n)
    round_keys = jax.random.bits(jax.random.fold_in(key, epoch), (_ROUNDS,), jnp.uint32)
    # Walk the cycle until it is back among the examples: still a bijection (Black & Rogaway, 2002).
    return lax.while_loop(
      lambda index: index >= n,
      lambda index: _permute(round_keys, index, half_bits),
      _permute(round_keys, position, half_bits),
    ).astype(jnp.int32)

  return jax.vmap(one)(positions.astype(jnp.uint32))
