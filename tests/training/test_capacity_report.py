"""Rehearsals: what is counted of a step, on devices of this machine; real compilers are in the slow tests."""

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

WHERE = Slice('v5e', (2, 2))
SETTINGS = run_config.Config(g_width=32, d_width=16, batch_size=64)
MNIST = ahead_of_time_compile.data_spec_of('mnist')


@pytest.fixture
def here(monkeypatch):
  """The devices of this machine in place of those of a slice."""
  monkeypatch.setattr(
    capacity_report, 'topology_devices', lambda where: jax.devices()[: where.n_chips]
  )


def test_a_report_adds_up(here):
  report = capacity_report.measure_capacity(SETTINGS, MNIST, WHERE)
  report = capacity_report.add_projections(report, SETTINGS, MNIST, WHERE, largest=False)
  g = 100 * 32 + 32 + 32 * 32 + 32 + 32 * 784 + 784
  d = 784 * 80 + 80 + 16 * 80 + 80 + 17
  assert report.parameters == 4 * (2 * g + d)  # with the average of G
  assert report.data == 60_000 * 784  # with held-out images for the referee
  assert report.peak_memory > report.data + report.parameters
  assert report.host_transfers == []
  assert {kind for kind, _, _ in report.collectives} == {'all-reduce'}
  assert sum(n * often for _, n, often in report.collectives) >= 4 * (g + d)
  # Products of both updates with R1, of 16 examples: at least three passes of D and G each.
  assert 6 * 16 * (g + 2 * d) < report.flops < 60 * 16 * (g + 2 * d)
  seconds = max(report.seconds[:2]) + report.seconds[2]
  assert report.step_seconds == seconds
  assert report.chip_hours_per_epoch == pytest.approx(50_000 / 64 * seconds * 4 / 3600)
  assert [row['chips'] for row in report.scaling] == [2**i for i in range(14)]
  json.dumps(pod.as_json(report, WHERE))
  text = pod.as_text(report, WHERE)
  assert 'all-reduce of' in text
  assert 'chip-hours' in text


def test_more_updates_of_d_cost_what_they_cost(here):
  one = capacity_report.measure_capacity(SETTINGS, MNIST, WHERE)
  five = capacity_report.measure_capacity(dataclasses.replace(SETTINGS, k='5'), MNIST, WHERE)
  assert 2 < five.flops / one.flops < 5
  count = lambda report: sum(often for _, _, often in report.collectives)
  # On this compiler an update sums some arrays each for itself; as many for each of four more updates of D.
  assert count(five) > count(one)


@pytest.mark.parametrize('mapped', ['pmap', sharding.SHARDED_PARAMS])
def test_of_a_stream_a_chip_has_its_rows_of_the_next_minibatches_only(mapped, here):
  report = capacity_report.measure_capacity(
    SETTINGS, MNIST, WHERE, capacity_report.CompileOptions(mapped, stream='yes')
  )
  assert report.streamed
  rows = SETTINGS.batch_size // WHERE.n_chips
  window = report.data - 10_000 * 784 - 4  # without held-out images and the number of the first
  assert window % (rows * 784) == 0
  assert window < 50_000 * 784
  assert 'a window of a stream' in pod.as_text(report, WHERE)


def test_whether_images_are_streamed_depends_on_the_memory_of_a_chip():
  large = ahead_of_time_compile.data_spec_of('imagenet', (64, 64, 3), 1_281_167)
  chosen = lambda of, choice='auto': ahead_of_time_compile.would_stream(
    choice, SETTINGS, of, chip_specs.CHIPS['v5e'].hbm
  )
  assert not chosen(MNIST)
  assert chosen(MNIST, 'yes')
  assert chosen(large)
  assert not chosen(large, 'no')
  stacked = ahead_of_time_compile.data_spec_of('stacked_mnist')
  assert not chosen(stacked)
  with pytest.raises(UserError, match='--stream=yes'):
    chosen(stacked, 'yes')


@pytest.mark.slow
def test_a_sharded_state_needs_its_share(here):
  whole = capacity_report.measure_capacity(SETTINGS, MNIST, WHERE)
  parts = capacity_report.measure_capacity(
    SETTINGS, MNIST, WHERE, capacity_report.CompileOptions(sharding.SHARDED_PARAMS)
  )
  assert parts.optimizer < 1.05 * whole.optimizer / 4
  assert parts.flops == pytest.approx(whole.flops, rel=0.05)


@pytest.mark.slow
def test_the_largest_batch_fits_and_a_chip_that_is_too_small_is_told(here, monkeypatch):
  report = capacity_report.measure_capacity(SETTINGS, MNIST, WHERE)
  room = int(report.peak_memory * 1.2)
  small = chip_specs.CHIPS['v5e']._replace(hbm=room)
  monkeypatch.setitem(chip_specs.CHIPS, 'v5e', small)
  report = capacity_report.measure_capacity(SETTINGS, MNIST, WHERE)
  largest = capacity_report.find_largest_batch(report, SETTINGS, MNIST, WHERE)
  assert largest >= SETTINGS.batch_size
  assert largest % 4 == 0
  again = capacity_report.measure_capacity(
    dataclasses.replace(SETTINGS, batch_size=largest), MNIST, WHERE
  )
  assert again.peak_memory <= room
  monkeypatch.setitem(chip_specs.CHIPS, 'v5e', small._replace(hbm=room // 2))
  with pytest.raises(ahead_of_time_compile.DoesNotFitError) as error:
    capacity_report.measure_capacity(SETTINGS, MNIST, WHERE)
  assert error.value.needed - error.value.has == report.peak_memory - room // 2


def test_a_batch_that_chips_do_not_divide_is_refused_with_those_that_they_do(here):
  settings = dataclasses.replace(SETTINGS, batch_size=66)
  with pytest.raises(UserError, match=r'--batch_size=66: 4 devices .* use --batch_size=64 or 68'):
    capacity_report.measure_capacity(settings, MNIST, WHERE)
  with pytest.raises(
    UserError, match=r'4 devices times --accumulate=3 .* use --batch_size=60 or 72'
  ):
    capacity_report.measure_capacity(dataclasses.replace(settings, accumulate=3), MNIST, WHERE)


def test_an_unknown_slice_is_answered_with_those_there_are(scripts):
  ended = scripts('pod', '--topology=v5e:3x3')
  assert ended.code == 2
  (line,) = ended.err.splitlines()
  assert line.startswith('error: --topology=v5e:3x3: known are ')
  assert all(name in line for name in chip_specs.topology_names())
