"""Counts FLOPs, bytes, collectives and host transfers per training step, from HLO text and jaxprs.

XLA's own cost analysis counts a loop body once and omits collectives. The program's outermost loop is over
training steps and counts once.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_BYTES = {
  'pred': 1, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2, 'bf16': 2, 'f16': 2,
  's32': 4, 'u32': 4, 'f32': 4, 's64': 8, 'u64': 8, 'f64': 8,
}  # fmt: skip
_COLLECTIVES = (
  'all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute', 'collective-broadcast',
)  # fmt: skip
_HOST = re.compile(r' (infeed|outfeed|send|recv)(-start|-done)?\(|is_host_transfer=true|callback')
_NETWORK = 'xla_megascale_runtime'
_HEADER = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\{$')
_WHILE = re.compile(r' while\(.*body=%?([\w.\-]+)')
_CALLED = re.compile(
  r'(?:calls|to_apply|condition|body|branch_computations|\w+_computation)=\{?([^},]+(?:, %[\w.\-]+)*)'
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Collective(NamedTuple):
  """Describes one collective instruction of a program."""

  kind: str
  n_bytes: int  # of the result
  per_step: float  # executions per training step


def find_collectives(text: str, k: float) -> list[Collective]:
  """Returns every collective instruction of compiled HLO `text`.

  An inner loop counts its known trip count, or `k` if unknown: the loop over updates of D.
  """
  computations = _split_computations(text)
  counts = _executions_per_step(computations, k)
  collectives = []
  for name, lines in computations.items():
    for line in lines:
      for kind in _COLLECTIVES:
        if re.search(rf' {kind}(-start)?\(', line):
          collectives.append(Collective(kind, _result_bytes(line, kind), counts.get(name, 1.0)))
  return collectives


def find_host_transfers(text: str) -> list[str]:
  """Returns the HLO instructions that exchange data with the host while the program runs.

  Transfers between TPU slices, over the network of their hosts, are not included.
  """
  lines = (line for line in text.splitlines() if _HOST.search(line) and _NETWORK not in line)
  return [line.strip()[:120] for line in lines]


def _split_computations(text: str) -> dict[str, list[str]]:
  """Returns the instruction lines of each computation by name; the program's own is called 'ENTRY'."""
  computations: dict[str, list[str]] = {}
  name = ''
  for line in text.splitlines():
    header = _HEADER.match(line)
    if header:
      name = 'ENTRY' if header[1] else header[2]
      computations[name] = []
    elif name and line.startswith(' '):
      computations[name].append(line)
  return computations


def _executions_per_step(computations: dict[str, list[str]], k: float) -> dict[str, float]:
  counts: dict[str, float] = {}

  def visit(name: str, count: float, depth: int) -> None:
    counts[name] = counts.get(name, 0.0) + count
    for line in computations.get(name, ()):
      loop = _WHILE.search(line)
      if loop:
        known = _TRIPS.search(line)
        trips = 1.0 if depth == 0 else float(known[1]) if known else k
        visit(loop[1], count * trips, depth + 1)
        continue
      for group in _CALLED.findall(line):
        for called in group.split(','):
          visit(called.strip().lstrip('%'), count, depth)

  visit('ENTRY', 1.0, 0)
  return counts


def _result_bytes(line: str, kind: str) -> int:
  """Returns the bytes of a result: half of an asynchronous start's, whose tuple repeats the operands."""
  before = line.split(f' {kind}')[0].split('=', 1)[1]
  total = 0
  for dtype, sides in re.findall(r'\b([a-z]+\d*)\[([\d,]*)\]', before):
    if dtype in _BYTES:
      total += _BYTES[dtype] * math.prod(int(side) for side in sides.split(',') if side)
  return total // 2 if f' {kind}-start(' in line and kind != 'all-reduce' else total


def count_flops(jaxpr: Any, k: float) -> float:
  """Returns the FLOPs of all matrix products and convolutions per device and training step.

  Counted in the jaxpr, before any compiler optimisation or rematerialisation by it. A `while` inside the
  outermost counts `k` times, a `scan` its length, a `cond` its most expensive branch.
  """
  return _sum_over_matmuls(_matmul_flops, jaxpr, k, 0)


def count_matmul_bytes(jaxpr: Any, k: float) -> float:
  """Returns the bytes that all matrix products and convolutions read and write per device and step.

  Loops are counted as by `count_flops`. Other operations, and fusion of products, are left out.
  """
  return _sum_over_matmuls(_matmul_bytes, jaxpr, k, 0)


def _matmul_flops(eqn: Any) -> float:
  if eqn.primitive.name == 'dot_general':
    (contracted, _), _ = eqn.params['dimension_numbers']
    sides = eqn.invars[0].aval.shape
    return 2.0 * eqn.outvars[0].aval.size * math.prod(sides[i] for i in contracted)
  kernel = eqn.invars[1].aval
  out_channels = kernel.shape[eqn.params['dimension_numbers'].rhs_spec[0]]
  return 2.0 * eqn.outvars[0].aval.size * kernel.size / out_channels


def _matmul_bytes(eqn: Any) -> float:
  return float(sum(x.aval.size * x.aval.dtype.itemsize for x in (*eqn.invars, *eqn.outvars)))


def _sum_over_matmuls(cost: Callable[[Any], float], jaxpr: Any, k: float, depth: int) -> float:
  """Returns the sum of `cost(eqn)` over the executions of all matrix products and convolutions."""
  total = 0.0
  for eqn in jaxpr.eqns:
    name, params = eqn.primitive.name, eqn.params
    if name in ('dot_general', 'conv_general_dilated'):
      total += cost(eqn)
    elif name == 'while':
      inner = _sum_over_matmuls(cost, params['body_jaxpr'].jaxpr, k, depth + 1)
      total += inner * (1.0 if depth == 0 else k)
    elif name == 'scan':
      total += params['length'] * _sum_over_matmuls(cost, params['jaxpr'].jaxpr, k, depth)
    elif name == 'cond':
      total += max(_sum_over_matmuls(cost, branch.jaxpr, k, depth) for branch in params['branches'])
    else:
      total += sum(_sum_over_matmuls(cost, inner, k, depth) for inner in _inner_jaxprs(params))
  return total


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
  """Yields the jaxprs among the parameters of an equation, as of jit, remat and custom derivatives."""
  for value in params.values():
    if hasattr(value, 'eqns'):
      yield value
    elif hasattr(value, 'jaxpr') and hasattr(value.jaxpr, 'eqns'):
      yield value.jaxpr
