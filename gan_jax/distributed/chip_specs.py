"""Tabulates speeds and memory of TPU and GPU chips, and estimates the seconds of a training step on them.

A slice of TPUs is named by its shape, v5e:16x16; GPUs by hosts and GPUs per host, h100:4x8. Bandwidths between
chips count one direction, out of a chip: half of the bidirectional figures of data sheets.
"""

import math
from typing import NamedTuple

GB, GIB, TERA = 1e9, 2**30, 1e12


class Chip(NamedTuple):
  """Holds the published peak figures of one chip generation; none is measured."""

  flops: float  # bfloat16 per second; float32 products run at that precision by default
  hbm: float  # bytes available to a program
  hbm_bandwidth: float  # bytes per second
  links: float  # bytes per second out of a chip to its neighbours
  network: float  # bytes per second out of a chip to other pods: its share of the host's
  pod: int  # most chips of one pod
  torus: int  # number of dimensions
  closes_at: int  # a dimension closes to a ring if a multiple of this
  source: str


_DOCS = 'docs.cloud.google.com/tpu/docs/'
CHIPS = {
  'v4': Chip(
    275e12, 32 * GIB, 1200 * GB, 300 * GB, 3.125 * GB, 4096, 3, 4,
    f'{_DOCS}v4; 6 links of 50 GB/s: Jouppi et al., arXiv 2304.01433; network assumed as v5e',
  ),
  'v5e': Chip(
    197e12, 15.75 * GIB, 819 * GB, 200 * GB, 3.125 * GB, 256, 2, 16,
    f'{_DOCS}v5e (16 GB, of which the compiler gives 15.75 GiB; 6.4 Tbit/s network per pod)',
  ),
  'v5p': Chip(
    459e12, 95 * GIB, 2765 * GB, 600 * GB, 6.25 * GB, 8960, 3, 4,
    f'{_DOCS}v5p (95 GiB for programs; 50 Gbit/s network per chip)',
  ),
  'v6e': Chip(
    918e12, 31.25 * GIB, 1638 * GB, 400 * GB, 12.5 * GB, 256, 2, 16,
    f'{_DOCS}v6e (32 GB, of which the compiler gives 31.25 GiB); network 100 Gbit/s per chip assumed',
  ),
  # The GPUs of a host share one switch, for an all-reduce as good as a ring; the network joins hosts.
  # 74 GiB of 80 GB are assumed to be available to a program.
  'a100': Chip(
    312e12, 74 * GIB, 2039 * GB, 300 * GB, 25 * GB, 8, 1, 1,
    'NVIDIA data sheets of A100 80GB and DGX A100 (NVLink 600 GB/s both ways, 200 Gbit/s network per GPU)',
  ),
  'h100': Chip(
    989e12, 74 * GIB, 3352 * GB, 450 * GB, 50 * GB, 8, 1, 1,
    'NVIDIA data sheets of H100 SXM and DGX H100 (NVLink 900 GB/s both ways, 400 Gbit/s network per GPU)',
  ),
}  # fmt: skip
GPUS = ('a100', 'h100')
# Slice shapes that exist; in three dimensions a selection.
_SHAPES_2D = ('2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
_SHAPES_3D = (
  *('2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8'),
  *('8x8x8', '8x8x16', '8x16x16', '16x16x16'),
)
_SHAPES_GPU = ('1x1', '1x2', '1x4', *(f'{2**i}x8' for i in range(8)))  # hosts x GPUs
SLICE_SHAPES = {
  **dict.fromkeys(GPUS, _SHAPES_GPU),
  'v4': _SHAPES_3D,
  'v5e': _SHAPES_2D,
  'v5p': (*_SHAPES_3D, '16x16x24'),
  'v6e': _SHAPES_2D,
}
# Latencies in seconds, all assumed: between neighbouring chips, between pods, between hosts of GPUs.
HOP_SECONDS, NETWORK_HOP_SECONDS, GPU_HOST_HOP_SECONDS = 1e-6, 50e-6, 5e-6


class Slice(NamedTuple):
  """Describes chips to run on: `n_slices` equal slices, each a torus or mesh of `sides`; for GPUs, hosts."""

  generation: str
  sides: tuple[int, ...]
  n_slices: int = 1

  @property
  def chip(self) -> Chip:
    """Returns the figures of one chip."""
    return CHIPS[self.generation]

  @property
  def n_chips(self) -> int:
    """Returns the number of chips in all slices."""
    return math.prod(self.sides) * self.n_slices

  @property
  def name(self) -> str:
    """Returns the name that `parse_topology` reads."""
    if self.generation in GPUS:
      return f'{self.generation}:{self.n_slices}x{self.sides[0]}'
    return f'{self.generation}:{"x".join(map(str, self.sides))}'


def topology_names() -> list[str]:
  """Returns every name that `parse_topology` knows."""
  return [f'{chip}:{shape}' for chip, shapes in SLICE_SHAPES.items() for shape in shapes]


def parse_topology(name: str, n_slices: int = 1) -> Slice | None:
  """Returns the slices of a name such as 'v5e:16x16', or None if it is unknown."""
  if name not in topology_names():
    return None
  generation, shape = name.split(':')
  sides = tuple(map(int, shape.split('x')))
  if generation in GPUS:
    return Slice(generation, sides[1:], sides[0] * n_slices)
  return Slice(generation, sides, n_slices)


def slice_of_size(generation: str, n: int) -> Slice:
  """Returns the most even torus of n chips, a power of 2, on as few pods as possible."""
  chip = CHIPS[generation]
  largest = 2 ** int(math.log2(chip.pod))
  inside = min(n, largest)
  sides = [1] * chip.torus
  while math.prod(sides) < inside:
    sides[sides.index(min(sides))] *= 2
  return Slice(generation, tuple(sorted(sides)), n // inside)


def all_reduce_seconds(slice_: Slice, n_bytes: float) -> float:
  """Returns a lower bound in seconds for an all-reduce of `n_bytes` over all chips, by a model.

  Within a slice of n chips, each sends 2 (n - 1) / n of the bytes over its links (a side that is not a ring
  has half of them), plus the latency of the hops across the slice. Between slices, each chip sends its
  1 / n of the sum over the network.
  """
  chip = slice_.chip
  inside = math.prod(slice_.sides)
  seconds = 0.0
  if inside > 1:
    n_links = lambda side: 0 if side == 1 else 2 if side % chip.closes_at == 0 else 1
    rate = chip.links * sum(map(n_links, slice_.sides)) / (2 * chip.torus)
    hops = sum(side // 2 if n_links(side) == 2 else side - 1 for side in slice_.sides)
    seconds += 2 * n_bytes * (inside - 1) / inside / rate + 2 * hops * HOP_SECONDS
  if slice_.n_slices > 1:
    others = (slice_.n_slices - 1) / slice_.n_slices
    seconds += 2 * n_bytes / inside * others / chip.network
    seconds += 2 * (GPU_HOST_HOP_SECONDS if slice_.generation in GPUS else NETWORK_HOP_SECONDS)
  return seconds


def estimate_step_seconds(
  slice_: Slice, flops: float, n_bytes: float, all_reduced: list[float]
) -> tuple[float, float, float]:
  """Returns the seconds that one step spends on arithmetic, on memory traffic, and on all-reduces.

  Args:
    slice_: the chips.
    flops: floating-point operations per chip.
    n_bytes: bytes of memory traffic per chip.
    all_reduced: bytes of each all-reduce.
  """
  chip = slice_.chip
  exchange = sum(all_reduce_seconds(slice_, n) for n in all_reduced) if slice_.n_chips > 1 else 0.0
  return flops / chip.flops, n_bytes / chip.hbm_bandwidth, exchange
