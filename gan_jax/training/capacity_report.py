"""Reports memory, arithmetic and communication of a run on TPUs or GPUs, by compiling for them.

The compilers of jax[tpu] and jax[cuda12] work on machines without such chips. Memory and collectives are the
compiler's; seconds are estimates from the table in `distributed.chip_specs`; no program is executed.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax

from gan_jax.config.run_config import Config
from gan_jax.distributed import chip_specs, device_memory, gpu_targets, hlo_analysis, sharding
from gan_jax.distributed.chip_specs import Slice
from gan_jax.training import ahead_of_time_compile
from gan_jax.training.ahead_of_time_compile import DataSpec, DoesNotFitError, bytes_per_device
from gan_jax.utils.errors import UserError


class CompileOptions(NamedTuple):
  """Holds how a step is mapped and compiled."""

  mapped: str = 'pmap'  # or sharding.SHARDED_PARAMS
  quickly: bool = False  # with less optimisation
  stream: str = 'auto'  # a choice of input_pipeline.STREAM


DEFAULT_OPTIONS = CompileOptions()


@dataclasses.dataclass(frozen=True)
class CapacityReport:
  """Holds the cost of one training step on one slice; bytes and FLOPs are per chip."""

  topology: str
  chips: int
  batch_size: int
  parameters: int  # bytes
  optimizer: int
  data: int  # of a window, where data are streamed
  streamed: bool
  activations: int
  peak_memory: int
  memory: float  # of a chip
  flops: float  # per step
  n_bytes: float  # per step: the compiler's count on TPUs, those of matrix products on GPUs
  collectives: list[tuple[str, int, float]]  # kind, bytes, number per step
  host_transfers: list[str]
  seconds: tuple[float, float, float]  # of arithmetic, memory, links between chips
  largest_batch: int | None = None
  chip_hours_per_epoch: float | None = None
  scaling: list[dict[str, float]] = dataclasses.field(default_factory=list)

  @property
  def intensity(self) -> float:
    """Returns the FLOPs per byte."""
    return self.flops / self.n_bytes

  @property
  def step_seconds(self) -> float:
    """Returns the longer of arithmetic and memory, plus communication, in seconds; no overlap is assumed."""
    return max(self.seconds[:2]) + self.seconds[2]

  @property
  def binds(self) -> str:
    """Returns the name of the resource that takes longest."""
    names = ('arithmetic', 'memory', 'the links between chips')
    return names[max(range(3), key=lambda i: self.seconds[i])]


def topology_devices(slice_: Slice) -> Sequence[jax.Device]:
  """Returns compile-only devices of a slice, one for each chip; raises UserError without the compiler."""
  from jax.experimental import topologies

  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  gpu = slice_.generation in chip_specs.GPUS
  try:
    with _discard_stderr():
      return topologies.get_topology_desc(**_topology_arguments(slice_)).devices
  except Exception as error:  # of many types
    text, extra = str(error), 'cuda12' if gpu else 'tpu'
    if any(word in text.lower() for word in ('libtpu', 'not found', 'unknown backend', 'cuda')):
      text = f"its compiler is not here; pip install 'jax[{extra}]' brings it"
    raise UserError(f'--topology={slice_.name}: {text.splitlines()[0][:160]}') from error


def _topology_arguments(slice_: Slice) -> dict[str, Any]:
  """Returns the arguments of `topologies.get_topology_desc` for a slice."""
  generation, n, arguments = slice_.generation, slice_.n_slices, {'topology_name': slice_.name}
  if generation in chip_specs.GPUS:
    target = gpu_targets.gpu_target_config(generation)
    grid = f'1x{n}x{slice_.sides[0]}'
    return arguments | {'platform': 'cuda', 'topology': grid, 'target_config': target}
  slices = {'num_slices': n} if n > 1 else {}
  # Both cores of a v4 chip are one device.
  cores = {'chip_config_name': 'megacore'} if generation == 'v4' else {}
  return arguments | {'platform': 'tpu'} | slices | cores


@contextlib.contextmanager
def _discard_stderr() -> Iterator[None]:
  """Discards what native code writes to stderr, such as warnings about missing TPUs."""
  saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(null, 2)
    yield
  finally:
    os.dup2(saved, 2)
    os.close(saved)
    os.close(null)


def measure_capacity(
  settings: Config, examples: DataSpec, slice_: Slice, options: CompileOptions = DEFAULT_OPTIONS
) -> CapacityReport:
  """Compiles the step of a run for a slice and measures it; raises UserError and DoesNotFitError."""
  streamed = ahead_of_time_compile.would_stream(options.stream, settings, examples, slice_.chip.hbm)
  devices = topology_devices(slice_)
  program = ahead_of_time_compile.trace_training_step(
    settings, examples, devices, options.mapped, streamed
  )
  compiled = compile_and_check_memory(program, slice_, options)
  k = 1.0 if settings.k == 'auto' else float(settings.k)
  memory, text = compiled.memory_analysis(), compiled.as_text()
  found = hlo_analysis.find_collectives(text, k)
  # A sharded program is one for all chips.
  share = slice_.n_chips if options.mapped == sharding.SHARDED_PARAMS else 1
  flops, once = (hlo_analysis.count_flops(program.jaxpr, each) / share for each in (k, 1.0))
  if cost := compiled.cost_analysis():
    # The compiler counts a loop over D's updates once; its bytes are taken to grow as its arithmetic does.
    n_bytes = float(cost['bytes accessed']) * (flops / once if once else 1.0)
  else:
    n_bytes = hlo_analysis.count_matmul_bytes(program.jaxpr, k) / share
  sums = [float(each.n_bytes) for each in found for _ in range(round(each.per_step))]
  state, pods = program.state, 1 if slice_.generation in chip_specs.GPUS else slice_.n_slices
  weights = (state.g.params, state.d.params, state.g_ema, state.g.stats, state.d.stats)
  return CapacityReport(
    topology=slice_.name + (f' x {pods}' if pods > 1 else ''),
    chips=slice_.n_chips,
    batch_size=settings.batch_size,
    parameters=bytes_per_device(weights),
    optimizer=bytes_per_device((state.g.opt_state, state.d.opt_state)),
    data=bytes_per_device(program.data),
    streamed=streamed,
    activations=memory.temp_size_in_bytes,
    peak_memory=_peak(compiled, program),
    memory=slice_.chip.hbm,
    flops=flops,
    n_bytes=n_bytes,
    collectives=[(each.kind, each.n_bytes, each.per_step) for each in found],
    host_transfers=hlo_analysis.find_host_transfers(text),
    seconds=chip_specs.estimate_step_seconds(slice_, flops, n_bytes, sums),
  )


def compile_and_check_memory(
  program: ahead_of_time_compile.TracedStep, slice_: Slice, options: CompileOptions
) -> Any:
  """Compiles a step; raises DoesNotFitError, also for GPUs, whose compiler does not check memory."""
  compiled = ahead_of_time_compile.compile_step(program, options.quickly)
  peak = _peak(compiled, program)
  if peak > slice_.chip.hbm:
    raise DoesNotFitError(peak, slice_.chip.hbm)
  return compiled


def add_projections(
  report: CapacityReport,
  settings: Config,
  examples: DataSpec,
  slice_: Slice,
  options: CompileOptions = DEFAULT_OPTIONS,
  largest: bool = True,
) -> CapacityReport:
  """Returns the report of `measure_capacity` with scaling, chip hours per epoch and the largest batch.

  The search for the largest batch compiles up to five times, unless `largest` is false. The other arguments
  are those of `measure_capacity`.
  """
  hours = batch = None
  if examples.n is not None:
    k = 1.0 if settings.k == 'auto' else float(settings.k)
    steps = examples.n / (settings.batch_size * k)
    hours = steps * report.step_seconds * slice_.n_chips / 3600
  if largest:
    batch = find_largest_batch(report, settings, examples, slice_, options)
  report = dataclasses.replace(report, chip_hours_per_epoch=hours, largest_batch=batch)
  return dataclasses.replace(report, scaling=predict_scaling(report, slice_))


def predict_scaling(report: CapacityReport, slice_: Slice) -> list[dict[str, float]]:
  """Predicts the speed on 1 to 8,192 chips at a constant number of examples per chip."""
  share = report.batch_size // report.chips
  sums = [float(n) for _, n, often in report.collectives for _ in range(round(often))]
  rows = []
  for n in (2**i for i in range(14)):
    scaled = chip_specs.slice_of_size(slice_.generation, n)
    costs = (report.flops, report.n_bytes, sums)
    arithmetic, memory, links = chip_specs.estimate_step_seconds(scaled, *costs)
    compute = max(arithmetic, memory)
    row = {'chips': n, 'pods': scaled.n_slices, 'batch_size': share * n}
    row |= {'step_seconds': compute + links, 'images_per_second': share * n / (compute + links)}
    rows.append(row | {'efficiency': compute / (compute + links)})
  return rows


def find_largest_batch(
  report: CapacityReport,
  settings: Config,
  examples: DataSpec,
  slice_: Slice,
  options: CompileOptions = DEFAULT_OPTIONS,
) -> int:
  """Returns a global batch that fits, near the largest: extrapolated from two compilations, then compiled."""
  devices = topology_devices(slice_)

  def used(batch: int) -> int:
    larger, how = dataclasses.replace(settings, batch_size=batch), (options.mapped, report.streamed)
    program = ahead_of_time_compile.trace_training_step(larger, examples, devices, *how)
    return _peak(compile_and_check_memory(program, slice_, options), program)

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


def _peak(compiled: Any, program: ahead_of_time_compile.TracedStep) -> int:
  """Returns the bytes of the compiled program on one chip, and of the data that lie beside it."""
  return bytes_per_device(program.resident) + device_memory.peak_bytes(compiled)
