"""What a compiled program does per step, read from its text and from its trace.

XLA's own cost analysis counts the body of a loop once, and does not say what chips tell each other.
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
  """One kind of exchange between chips at one place of the program."""

  kind: str
  n_bytes: int  # of its result
  per_step: float  # how often it runs


def find_collectives(text: str, k: float) -> list[Collective]:
  """Every collective operation of compiled HLO whose outermost loop is over steps.

  A loop within it runs as often as the compiler knows, and `k` times where it does not: those are the
  updates of D.
  """
  lines = _computations(text)
  times = _times(lines, k)
  found = []
  for name, body in lines.items():
    for line in body:
      for kind in _COLLECTIVES:
        if re.search(rf' {kind}(-start)?\(', line):
          found.append(Collective(kind, _result_bytes(line, kind), times.get(name, 1.0)))
  return found


def find_host_transfers(text: str) -> list[str]:
  """The instructions by which the program speaks with the host while it runs.

  What slices of TPUs tell one another goes through their hosts' network, and is none of these.
  """
  lines = (line for line in text.splitlines() if _HOST.search(line) and _NETWORK not in line)
  return [line.strip()[:120] for line in lines]


def _computations(text: str) -> dict[str, list[str]]:
  """The instructions of each computation; that of the program itself is called 'ENTRY'."""
  found: dict[str, list[str]] = {}
  name = ''
  for line in text.splitlines():
    header = _HEADER.match(line)
    if header:
      name = 'ENTRY' if header[1] else header[2]
      found[name] = []
    elif name and line.startswith(' '):
      found[name].append(line)
  return found


def _times(lines: dict[str, list[str]], k: float) -> dict[str, float]:
  """How often each computation runs per step."""
  times: dict[str, float] = {}

  def visit(name: str, often: float, depth: int) -> None:
    times[name] = times.get(name, 0.0) + often
    for line in lines.get(name, ()):
      loop = _WHILE.search(line)
      if loop:
        known = _TRIPS.search(line)
        trips = 1.0 if depth == 0 else float(known[1]) if known else k
        visit(loop[1], often * trips, depth + 1)
        continue
      for group in _CALLED.findall(line):
        for called in group.split(','):
          visit(called.strip().lstrip('%'), often, depth)

  visit('ENTRY', 1.0, 0)
  return times


def _result_bytes(line: str, kind: str) -> int:
  """Bytes of an instruction's result; of an asynchronous one, whose result repeats the operands, half."""
  before = line.split(f' {kind}')[0].split('=', 1)[1]
  total = 0
  for dtype, sides in re.findall(r'\b([a-z]+\d*)\[([\d,]*)\]', before):
    if dtype in _BYTES:
      total += _BYTES[dtype] * math.prod(int(side) for side in sides.split(',') if side)
  return total // 2 if f' {kind}-start(' in line and kind != 'all-reduce' else total


def count_flops(jaxpr: Any, k: float) -> float:
  """Multiplications and additions of all matrix products and convolutions per device and step.

  From the trace, so nothing that the compiler repeats or saves is counted: what the algorithm needs.
  The outermost `while` is over steps and counts once, those within it `k` times, a scan its length,
  and of several branches the dearest.
  """
  return _sum(_operations, jaxpr, k, 0)


def count_matmul_bytes(jaxpr: Any, k: float) -> float:
  """Bytes that all matrix products and convolutions read and write per device and step, counted as `flops`.

  At least so many move where no two of them are fused, and nothing else is counted.
  """
  return _sum(_bytes_of, jaxpr, k, 0)


def _operations(eqn: Any) -> float:
  if eqn.primitive.name == 'dot_general':
    (contracted, _), _ = eqn.params['dimension_numbers']
    sides = eqn.invars[0].aval.shape
    return 2.0 * eqn.outvars[0].aval.size * math.prod(sides[i] for i in contracted)
  kernel = eqn.invars[1].aval
  out_channels = kernel.shape[eqn.params['dimension_numbers'].rhs_spec[0]]
  return 2.0 * eqn.outvars[0].aval.size * kernel.size / out_channels


def _bytes_of(eqn: Any) -> float:
  return float(sum(x.aval.size * x.aval.dtype.itemsize for x in (*eqn.invars, *eqn.outvars)))


def _sum(of: Callable[[Any], float], jaxpr: Any, k: float, depth: int) -> float:
  """The sum of `of` over products and convolutions, as often as they run."""
  total = 0.0
  for eqn in jaxpr.eqns:
    name, params = eqn.primitive.name, eqn.params
    if name in ('dot_general', 'conv_general_dilated'):
      total += of(eqn)
    elif name == 'while':
      inner = _sum(of, params['body_jaxpr'].jaxpr, k, depth + 1)
      total += inner * (1.0 if depth == 0 else k)
    elif name == 'scan':
      total += params['length'] * _sum(of, params['jaxpr'].jaxpr, k, depth)
    elif name == 'cond':
      total += max(_sum(of, branch.jaxpr, k, depth) for branch in params['branches'])
    else:
      total += sum(_sum(of, inner, k, depth) for inner in _inner(params))
  return total


def _inner(params: dict[str, Any]) -> Iterator[Any]:
  """The traces within an operation, such as those of jit, remat and custom derivatives."""
  for value in params.values():
    if hasattr(value, 'eqns'):
      yield value
    elif hasattr(value, 'jaxpr') and hasattr(value.jaxpr, 'eqns'):
      yield value.jaxpr
