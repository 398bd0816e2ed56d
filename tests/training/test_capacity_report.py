"""Tests the capacity report on CPU devices; the slow tests use the TPU compiler."""

import dataclasses
import json

import jax
import pytest

from experiments import pod
from gan_jax.config import run_config
from gan_jax.distributed import chip_specs, sharding
from gan_jax.distributed.chip_specs import Slice
from gan_jax.training import ahead_of_time_compile, capacity_report
from gan_jax.utils.errors import UserError

SLICE = Slice('v5e', (2, 2))
SETTINGS = run_config.Config(g_width=32, d_width=16, batch_size=64)
MNIST = ahead_of_time_compile.data_spec_of('mnist')


@pytest.fixture
def cpu_devices(monkeypatch):
  """Replaces the devices of a slice by CPU devices."""
  monkeypatch.setattr(
    capacity_report, 'topology_devices', lambda slice_: jax.devices()[: slice_.n_chips]
  )


def test_a_report_is_consistent(cpu_devices):
  report = capacity_report.measure_capacity(SETTINGS, MNIST, SLICE)
  report = capacity_report.add_projections(report, SETTINGS, MNIST, SLICE, largest=False)
  g = 100 * 32 + 32 + 32 * 32 + 32 + 32 * 784 + 784
  d = 784 * 80 + 80 + 16 * 80 + 80 + 17
  assert report.parameters == 4 * (2 * g + d)  # with the average of G
  assert report.data == 60_000 * 784  # with held-out images for the monitors
  assert report.peak_memory > report.data + report.parameters
  assert report.host_transfers == []
  assert {kind for kind, _, _ in report.collectives} == {'all-reduce'}
  assert sum(n * count for _, n, count in report.collectives) >= 4 * (g + d)
  # Products of both updates with R1, of 16 examples: at least three passes of D and G each.
  assert 6 * 16 * (g + 2 * d) < report.flops < 60 * 16 * (g + 2 * d)
  seconds = max(report.seconds[:2]) + report.seconds[2]
  assert report.step_seconds == seconds
  assert report.chip_hours_per_epoch == pytest.approx(50_000 / 64 * seconds * 4 / 3600)
  assert [row['chips'] for row in report.scaling] == [2**i for i in range(14)]
  json.dumps(pod.as_json(report, SLICE))
  text = pod.as_text(report, SLICE)
  assert 'all-reduce of' in text
  assert 'chip-hours' in text


def test_cost_grows_with_the_number_of_updates_of_d(cpu_devices):
  one = capacity_report.measure_capacity(SETTINGS, MNIST, SLICE)
  five = capacity_report.measure_capacity(dataclasses.replace(SETTINGS, k='5'), MNIST, SLICE)
  assert 2 < five.flops / one.flops < 5
  count = lambda report: sum(n for _, _, n in report.collectives)
  # The CPU compiler does not combine all all-reduces of an update.
  assert count(five) > count(one)


@pytest.mark.parametrize('mapped', ['pmap', sharding.SHARDED_PARAMS])
def test_a_chip_holds_only_its_rows_of_the_next_streamed_minibatches(mapped, cpu_devices):
  report = capacity_report.measure_capacity(
    SETTINGS, MNIST, SLICE, capacity_report.CompileOptions(mapped, stream='yes')
  )
  assert report.streamed
  rows = SETTINGS.batch_size // SLICE.n_chips
  window = (
    report.data - 10_000 * 784 - 4
  )  # without held-out images and the index of the first minibatch
  assert window % (rows * 784) == 0
  assert window < 50_000 * 784
  assert 'a window of a stream' in pod.as_text(report, SLICE)


def test_streaming_depends_on_the_memory_of_a_chip():
  large = ahead_of_time_compile.data_spec_of('imagenet', (64, 64, 3), 1_281_167)
  streams = lambda spec, choice='auto': ahead_of_time_compile.would_stream(
    choice, SETTINGS, spec, chip_specs.CHIPS['v5e'].hbm
  )
  assert not streams(MNIST)
  assert streams(MNIST, 'yes')
  assert streams(large)
  assert not streams(large, 'no')
  stacked = ahead_of_time_compile.data_spec_of('stacked_mnist')
  assert not streams(stacked)
  with pytest.raises(UserError, match='--stream=yes'):
    streams(stacked, 'yes')


@pytest.mark.slow
def test_sharded_optimizer_states_are_divided_among_chips(cpu_devices):
  whole = capacity_report.measure_capacity(SETTINGS, MNIST, SLICE)
  parts = capacity_report.measure_capacity(
    SETTINGS, MNIST, SLICE, capacity_report.CompileOptions(sharding.SHARDED_PARAMS)
  )
  assert parts.optimizer < 1.05 * whole.optimizer / 4
  assert parts.flops == pytest.approx(whole.flops, rel=0.05)


@pytest.mark.slow
def test_the_largest_batch_fits_and_a_too_small_chip_raises(cpu_devices, monkeypatch):
  report = capacity_report.measure_capacity(SETTINGS, MNIST, SLICE)
  memory = int(report.peak_memory * 1.2)
  small = chip_specs.CHIPS['v5e']._replace(hbm=memory)
  monkeypatch.setitem(chip_specs.CHIPS, 'v5e', small)
  report = capacity_report.measure_capacity(SETTINGS, MNIST, SLICE)
  largest = capacity_report.find_largest_batch(report, SETTINGS, MNIST, SLICE)
  assert largest >= SETTINGS.batch_size
  assert largest % 4 == 0
  again = capacity_report.measure_capacity(
    dataclasses.replace(SETTINGS, batch_size=largest), MNIST, SLICE
  )
  assert again.peak_memory <= memory
  monkeypatch.setitem(chip_specs.CHIPS, 'v5e', small._replace(hbm=memory // 2))
  with pytest.raises(ahead_of_time_compile.DoesNotFitError) as error:
    capacity_report.measure_capacity(SETTINGS, MNIST, SLICE)
  assert error.value.needed - error.value.has == report.peak_memory - memory // 2


def test_an_indivisible_batch_is_refused_with_the_nearest_divisible_ones(cpu_devices):
  settings = dataclasses.replace(SETTINGS, batch_size=66)
  with pytest.raises(UserError, match=r'--batch_size=66: 4 devices .* use --batch_size=64 or 68'):
    capacity_report.measure_capacity(settings, MNIST, SLICE)
  with pytest.raises(
    UserError, match=r'4 devices times --accumulate=3 .* use --batch_size=60 or 72'
  ):
    capacity_report.measure_capacity(dataclasses.replace(settings, accumulate=3), MNIST, SLICE)


def test_an_unknown_slice_is_refused_with_the_known_ones(scripts):
  ended = scripts('pod', '--topology=v5e:3x3')
  assert ended.code == 2
  (line,) = ended.err.splitlines()
  assert line.startswith('error: --topology=v5e:3x3: known are ')
  assert all(name in line for name in chip_specs.topology_names())
