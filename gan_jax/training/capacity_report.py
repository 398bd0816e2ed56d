"""A run on TPUs or GPUs that nobody has to own: compiled for it, measured by the compiler.

The compilers of jax[tpu] and jax[cuda12] work on any machine. They prove that the step compiles, what
memory it needs and what chips tell each other; seconds are estimates from `distributed.chip_specs`,
and no numbers of a run are checked.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax

from gan_jax.config.config import Config
from gan_jax.distributed import chip_specs, device_memory, gpu_targets, hlo_analysis, sharding
from gan_jax.distributed.chip_specs import Slice
from gan_jax.training import ahead_of_time
from gan_jax.training.ahead_of_time import (
  DataSpec,
  DoesNotFitError,
  bytes_per_device,
  compile_step,
  trace_training_step,
  would_stream,
)
from gan_jax.utils.errors import UserError


class CompileOptions(NamedTuple):
  """How a step is mapped and compiled."""

  mapped: str = 'pmap'  # or sharding.SHARDED_PARAMS
  quickly: bool = False  # with less optimisation
  stream: str = 'auto'  # in supply.STREAM: whether images come from the host


DEFAULT_OPTIONS = CompileOptions()


@dataclasses.dataclass(frozen=True)
class CapacityReport:
  """What is known of one step on one slice; bytes and FLOPs per chip."""

  topology: str
  chips: int
  batch_size: int
  parameters: int  # bytes
  optimizer: int
  data: int  # a window of it, where it is streamed
  streamed: bool
  activations: int
  peak_memory: int
  memory: float  # that a chip has
  flops: float  # per step
  n_bytes: float  # per step, as the compiler counts them, some of which stay on the chip; on GPUs of products
  collectives: list[tuple[str, int, float]]  # kind, bytes, how often per step
  host_transfers: list[str]
  seconds: tuple[float, float, float]  # arithmetic, memory, between chips
  largest_batch: int | None = None
  chip_hours_per_epoch: float | None = None
  scaling: list[dict[str, float]] = dataclasses.field(default_factory=list)

  @property
  def intensity(self) -> float:
    """FLOPs per byte."""
    return self.flops / self.n_bytes

  @property
  def step_seconds(self) -> float:
    """The longer of arithmetic and memory, then the exchange, none of which hides another here."""
    return max(self.seconds[:2]) + self.seconds[2]

  @property
  def binds(self) -> str:
    """What takes longest."""
    names = ('arithmetic', 'memory', 'the links between chips')
    return names[max(range(3), key=lambda i: self.seconds[i])]


def topology_devices(where: Slice) -> Sequence[jax.Device]:
  """Devices of a slice to compile for, one for each chip; raises UserError without the compiler."""
  from jax.experimental import topologies

  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  gpu = where.generation in chip_specs.GPUS
  try:
    with _silence():
      found = topologies.get_topology_desc(**(_of_gpus(where) if gpu else _of_tpus(where)))
  except Exception as error:  # of many types
    text, extra = str(error), 'cuda12' if gpu else 'tpu'
    if any(word in text.lower() for word in ('libtpu', 'not found', 'unknown backend', 'cuda')):
      raise UserError(
        f"--topology={where.name}: its compiler is not here; pip install 'jax[{extra}]' brings it"
      ) from error
    raise UserError(f'--topology={where.name}: {text.splitlines()[0][:160]}') from error
  return found.devices


def _of_tpus(where: Slice) -> dict[str, Any]:
  options: dict[str, Any] = {'platform': 'tpu', 'topology_name': where.name}
  if where.n_slices > 1:
    options['num_slices'] = where.n_slices
  if where.generation == 'v4':
    options['chip_config_name'] = 'megacore'  # both cores of a chip as one device, as it runs
  return options


def _of_gpus(where: Slice) -> dict[str, Any]:
  return {
    'platform': 'cuda',
    'topology_name': where.name,
    'topology': f'1x{where.n_slices}x{where.sides[0]}',
    'target_config': gpu_targets.gpu_target_config(where.generation),
  }


@contextlib.contextmanager
def _silence() -> Iterator[None]:
  """Without what native code writes to stderr: that this machine has no TPU is known."""
  kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(nowhere, 2)
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)
    os.close(nowhere)


def measure_capacity(
  settings: Config, examples: DataSpec, where: Slice, way: CompileOptions = DEFAULT_OPTIONS
) -> CapacityReport:
  """Compile a run's step for a slice and count; raises UserError and DoesNotFitError."""
  streamed = would_stream(way.stream, settings, examples, where.chip.hbm)
  program = trace_training_step(settings, examples, topology_devices(where), way.mapped, streamed)
  compiled = compile_and_check_memory(program, where, way)
  k = 1.0 if settings.k == 'auto' else float(settings.k)
  memory, text = compiled.memory_analysis(), compiled.as_text()
  found = hlo_analysis.find_collectives(text, k)
  share = (
    where.n_chips if way.mapped == sharding.SHARDED_PARAMS else 1
  )  # one program for all of them
  flops, once = (hlo_analysis.count_flops(program.jaxpr, each) / share for each in (k, 1.0))
  cost = compiled.cost_analysis()
  if cost:
    # The compiler counts a loop over D's updates once; its bytes are taken to grow as its arithmetic does.
    n_bytes = float(cost['bytes accessed']) * (flops / once if once else 1.0)
  else:
    n_bytes = hlo_analysis.count_matmul_bytes(program.jaxpr, k) / share
  sums = [float(each.n_bytes) for each in found for _ in range(round(each.per_step))]
  state = program.state
  return CapacityReport(
    topology=where.name
    + (
      f' x {where.n_slices}'
      if where.n_slices > 1 and where.generation not in chip_specs.GPUS
      else ''
    ),
    chips=where.n_chips,
    batch_size=settings.batch_size,
    parameters=bytes_per_device(
      (state.g.params, state.d.params, state.g_ema, state.g.stats, state.d.stats)
    ),
    optimizer=bytes_per_device((state.g.opt_state, state.d.opt_state)),
    data=bytes_per_device(program.data),
    streamed=streamed,
    activations=memory.temp_size_in_bytes,
    peak_memory=_peak(compiled, program),
    memory=where.chip.hbm,
    flops=flops,
    n_bytes=n_bytes,
    collectives=[(each.kind, each.n_bytes, each.per_step) for each in found],
    host_transfers=hlo_analysis.find_host_transfers(text),
    seconds=chip_specs.estimate_step_seconds(where, flops, n_bytes, sums),
  )


def compile_and_check_memory(
  program: ahead_of_time.TracedStep, where: Slice, way: CompileOptions
) -> Any:
  """The compiled step; raises DoesNotFitError, also for GPUs, whose compiler does not look at memory."""
  compiled = compile_step(program, way.quickly)
  peak = _peak(compiled, program)
  if peak > where.chip.hbm:
    raise DoesNotFitError(peak, where.chip.hbm)
  return compiled


def add_projections(
  report: CapacityReport,
  settings: Config,
  examples: DataSpec,
  where: Slice,
  way: CompileOptions = DEFAULT_OPTIONS,
  largest: bool = True,
) -> CapacityReport:
  """The report with what follows from it: scaling, the price of an epoch, and the `largest` batch."""
  hours = None
  if examples.n is not None:
    k = 1.0 if settings.k == 'auto' else float(settings.k)
    steps = examples.n / (settings.batch_size * k)
    hours = steps * report.step_seconds * where.n_chips / 3600
  return dataclasses.replace(
    report,
    chip_hours_per_epoch=hours,
    scaling=predict_scaling(report, where),
    largest_batch=find_largest_batch(report, settings, examples, where, way) if largest else None,
  )


def predict_scaling(report: CapacityReport, where: Slice) -> list[dict[str, float]]:
  """Predicted speed on 1 to 8,192 chips, each with as many examples as now."""
  share = report.batch_size // report.chips
  sums = [float(n) for _, n, often in report.collectives for _ in range(round(often))]
  rows = []
  for n in (2**i for i in range(14)):
    there = chip_specs.slice_of_size(where.generation, n)
    arithmetic, memory, between = chip_specs.estimate_step_seconds(
      there, report.flops, report.n_bytes, sums
    )
    alone = max(arithmetic, memory)
    rows.append(
      {
        'chips': n,
        'pods': there.n_slices,
        'batch_size': share * n,
        'step_seconds': alone + between,
        'images_per_second': share * n / (alone + between),
        'efficiency': alone / (alone + between),
      }
    )
  return rows


def find_largest_batch(
  report: CapacityReport,
  settings: Config,
  examples: DataSpec,
  where: Slice,
  way: CompileOptions = DEFAULT_OPTIONS,
) -> int:
  """A global batch that fits, near the largest: from two compilations, proved by a third."""
  devices = topology_devices(where)

  def used(batch: int) -> int:
    settings_ = dataclasses.replace(settings, batch_size=batch)
    program = trace_training_step(settings_, examples, devices, way.mapped, report.streamed)
    return _peak(compile_and_check_memory(program, where, way), program)

  first, more = settings.batch_size, 8 * settings.batch_size
  with contextlib.suppress(DoesNotFitError):
    slope = (used(more) - report.peak_memory) / (more - first)
    room = report.memory - report.peak_memory
    guess = first + int(room / max(slope, 1e-9))
    for margin in (0.97, 0.9, 0.8):
      parts = len(devices) * settings.accumulate
      batch = max(first, int(guess * margin) // parts * parts)
      with contextlib.suppress(DoesNotFitError):
        used(batch)
        return batch
  return first


def _peak(compiled: Any, program: ahead_of_time.TracedStep) -> int:
  """Returns the bytes of the compiled program on one chip, and of the data that lie beside it."""
  return bytes_per_device(program.idle) + device_memory.peak_bytes(compiled)
