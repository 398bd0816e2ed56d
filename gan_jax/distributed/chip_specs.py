"""What accelerator chips can do, and how long a step must take on them: every assumption in one table.

A slice of TPUs is named by its shape, v5e:16x16; GPUs by hosts and GPUs of each, h100:4x8.

Bandwidths between chips are those out of a chip, over all its links: half of what is called
bidirectional. Google's tables agree: all-reduce bandwidth of a pod over its chips is that half.
"""

import math
from typing import NamedTuple

GB, GIB, TERA = 1e9, 2**30, 1e12


class Chip(NamedTuple):
  """One generation; peaks as published, none of them measured here."""

  flops: float  # bfloat16 per second; float32 products run at that precision by default
  hbm: float  # bytes that a program may use
  hbm_bandwidth: float  # bytes per second
  links: float  # bytes per second out of a chip to its neighbours
  network: float  # bytes per second out of a chip to other pods, its share of the host's
  pod: int  # most chips of one pod
  torus: int  # dimensions
  closes_at: int  # a dimension is a ring where it is a multiple of this
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
  # A host's GPUs hang on one switch, which is as good as a ring to a sum; hosts meet by the network. 74 GiB
  # of 80 GB are assumed to be left for a program.
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
# Shapes of slices that can be asked for; of three dimensions these are some of many.
_FLAT = ('2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
_CUBES = (
  *('2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8'),
  *('8x8x8', '8x8x16', '8x16x16', '16x16x16'),
)
_HOSTS = (
  '1x1',
  '1x2',
  '1x4',
  '1x8',
  '2x8',
  '4x8',
  '8x8',
  '16x8',
  '32x8',
  '64x8',
  '128x8',
)  # hosts x GPUs
SLICE_SHAPES = {
  'a100': _HOSTS,
  'h100': _HOSTS,
  'v4': _CUBES,
  'v5e': _FLAT,
  'v5p': (*_CUBES, '16x16x24'),
  'v6e': _FLAT,
}
HOP_SECONDS = 1e-6  # seconds from one chip to the next: assumed
NETWORK_HOP_SECONDS = (
  50e-6  # seconds from one pod to another, or 5e-6 from one host of GPUs: assumed
)


class Slice(NamedTuple):
  """Chips of one generation: `n_slices` equal slices of a pod, each a torus or mesh."""

  generation: str
  sides: tuple[int, ...]
  n_slices: int = 1

  @property
  def chip(self) -> Chip:
    """Of which kind they are."""
    return CHIPS[self.generation]

  @property
  def n_chips(self) -> int:
    """Over all slices."""
    return math.prod(self.sides) * self.n_slices

  @property
  def name(self) -> str:
    """As `parse` reads it."""
    if self.generation in GPUS:
      return f'{self.generation}:{self.n_slices}x{self.sides[0]}'
    return f'{self.generation}:{"x".join(map(str, self.sides))}'


def topology_names() -> list[str]:
  """Every slice that can be named."""
  return [
    f'{generation}:{shape}' for generation, shapes in SLICE_SHAPES.items() for shape in shapes
  ]


def parse_topology(name: str, n_slices: int = 1) -> Slice | None:
  """The slice that a name such as 'v5e:16x16' means; None for an unknown one."""
  if name not in topology_names():
    return None
  generation, shape = name.split(':')
  sides = tuple(map(int, shape.split('x')))
  if generation in GPUS:
    return Slice(generation, sides[1:], sides[0] * n_slices)
  return Slice(generation, sides, n_slices)


def slice_of_size(generation: str, n: int) -> Slice:
  """As even a torus as there is of n chips, a power of 2, in as few pods as hold them."""
  chip = CHIPS[generation]
  largest = 2 ** int(math.log2(chip.pod))
  inside = min(n, largest)
  sides = [1] * chip.torus
  while math.prod(sides) < inside:
    sides[sides.index(min(sides))] *= 2
  return Slice(generation, tuple(sorted(sides)), n // inside)


def all_reduce_seconds(where: Slice, n_bytes: float) -> float:
  """How long the sum of `n_bytes` over all chips takes at least: a model, not a measurement.

  Each chip sends almost twice the bytes over the links that its slice gives it (a side that is no ring
  has half of them), and waits for as many hops as the slice is wide. Between pods every chip sends its
  share of the sum over the network.
  """
  chip = where.chip
  inside = math.prod(where.sides)
  seconds = 0.0
  if inside > 1:
    open_links = [
      0 if side == 1 else 2 if side % chip.closes_at == 0 else 1 for side in where.sides
    ]
    rate = chip.links * sum(open_links) / (2 * chip.torus)
    hops = sum(
      side // 2 if links == 2 else side - 1
      for side, links in zip(where.sides, open_links, strict=True)
    )
    seconds += 2 * n_bytes * (inside - 1) / inside / rate + 2 * hops * HOP_SECONDS
  if where.n_slices > 1:
    others = (where.n_slices - 1) / where.n_slices
    seconds += 2 * n_bytes / inside * others / chip.network
    seconds += 2 * (5e-6 if where.generation in GPUS else NETWORK_HOP_SECONDS)
  return seconds


def estimate_step_seconds(
  where: Slice, flops: float, n_bytes: float, sums: list[float]
) -> tuple[float, float, float]:
  """Seconds for arithmetic, for memory, and for the all-reduces of `sums` bytes each, of one step."""
  chip = where.chip
  between = sum(all_reduce_seconds(where, each) for each in sums) if where.n_chips > 1 else 0.0
  return flops / chip.flops, n_bytes / chip.hbm_bandwidth, between
