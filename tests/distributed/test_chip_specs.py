"""The model of what exchange costs: its limits, its table, and the names that it knows."""

import math

import pytest

from gan_jax.distributed import chip_specs
from gan_jax.distributed.chip_specs import CHIPS, Slice


def test_names_are_read_and_others_are_not():
  assert chip_specs.parse_topology('v5e:16x16') == Slice('v5e', (16, 16))
  assert chip_specs.parse_topology('v5p:4x4x8', 2).n_chips == 256
  assert all(chip_specs.parse_topology(name).name == name for name in chip_specs.topology_names())
  for name in ('v5e', 'v5e:3x3', 'v9:2x2', '16x16', '', 'v5e:16x16x16'):
    assert chip_specs.parse_topology(name) is None


def test_no_slice_is_larger_than_its_pod():
  for name in chip_specs.topology_names():
    where = chip_specs.parse_topology(name)
    assert math.prod(where.sides) <= where.chip.pod  # of GPUs: a host
    assert len(where.sides) == where.chip.torus


@pytest.mark.parametrize('generation', CHIPS)
def test_slices_of_any_power_of_2(generation):
  for i in range(14):
    where = chip_specs.slice_of_size(generation, 2**i)
    assert where.n_chips == 2**i
    assert math.prod(where.sides) <= where.chip.pod
    # A slice of TPUs is near a cube; hosts of GPUs stand in a row.
    assert len(where.sides) == 1 or max(where.sides) <= 2 * min(where.sides)


def test_large_sums_take_their_bytes_over_the_links_and_small_ones_their_hops():
  ring = Slice('v5e', (16, 16))
  large = chip_specs.all_reduce_seconds(ring, 1e12)
  assert large == pytest.approx(2 * 1e12 * 255 / 256 / 200e9, rel=1e-3)
  assert chip_specs.all_reduce_seconds(ring, 0) == pytest.approx(2 * 16 * chip_specs.HOP_SECONDS)
  # A slice that is no ring has half of the links; what chips there are alone have nothing to send.
  assert chip_specs.all_reduce_seconds(Slice('v5e', (8, 8)), 1e12) == pytest.approx(
    2 * 1e12 * 63 / 64 / 100e9, rel=1e-3
  )
  assert chip_specs.all_reduce_seconds(Slice('v5e', (1, 1)), 1e12) == 0


def test_another_pod_is_reached_by_the_network_only():
  one, two = Slice('v5e', (16, 16)), Slice('v5e', (16, 16), 2)
  more = chip_specs.all_reduce_seconds(two, 1e12) - chip_specs.all_reduce_seconds(one, 1e12)
  assert more == pytest.approx(2 * 1e12 / 256 / 2 / 3.125e9, rel=1e-3)


def test_a_step_on_one_chip_tells_nobody_anything():
  arithmetic, memory, between = chip_specs.estimate_step_seconds(
    Slice('v6e', (1, 1)), 918e12, 1638e9, [1e9]
  )
  assert (arithmetic, memory, between) == (1, 1, 0)


def test_every_row_has_a_source():
  for chip in CHIPS.values():
    assert 'docs.cloud.google.com' in chip.source or chip.source.startswith(
      'NVIDIA data sheets of '
    )
    assert 1e14 < chip.flops < 1e16
    assert chip.hbm_bandwidth > chip.links > chip.network
