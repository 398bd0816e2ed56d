"""Tests which training monitors raise an alarm, and when."""

import pytest

from gan_jax.config import setting_definitions
from gan_jax.diagnosis import alarms

HEALTHY = {
  'watch_gap': 0.01,
  'watch_near': 0.1,
  'watch_spread': 1.0,
  'watch_drift': 0.05,
  'watch_slope': 0.5,
  'watch_own': 0.6,
  'watch_overfit': 0.5,
}
FAULTS = {
  'collapse': {'watch_spread': 0.1},
  'starved': {'watch_slope': 0.001, 'watch_own': 1.0},
  'overfitted': {'watch_overfit': 0.9},
  'diverged': {'watch_gap': 0.8},
}


def records(*changes):
  return [HEALTHY | {'step': i} | change for i, change in enumerate(changes)]


def test_rules_have_the_names_that_the_flag_accepts():
  assert tuple(alarms.ALARM_RULES) == setting_definitions.ALARMS


def test_healthy_monitors_raise_nothing():
  assert alarms.active_alarms(records(*[{}] * 10)) == []


@pytest.mark.parametrize('name', alarms.ALARM_RULES)
def test_each_fault_raises_its_alarm_at_the_second_record(name):
  fault = FAULTS[name]
  assert alarms.active_alarms(records({}, {}, fault)) == []
  (alarm,) = alarms.active_alarms(records({}, {}, fault, fault))
  assert alarm.name == name
  assert '\n' not in alarm.message


@pytest.mark.parametrize('name', alarms.ALARM_RULES)
def test_an_alarm_is_new_once_and_again_when_it_returns(name):
  fault = FAULTS[name]
  history = records({}, {}, fault, fault, fault, {}, {}, fault, fault)
  new_at = [i for i in range(1, len(history) + 1) if alarms.new_alarms(history[:i])]
  assert new_at == [4, 9]


def test_fewer_than_two_records_raise_nothing():
  assert alarms.active_alarms(records(FAULTS['collapse'])) == []
  assert alarms.active_alarms([]) == []


def test_a_start_far_from_the_data_is_no_divergence():
  gaps = [2.0, 1.0, 0.5, 0.2, 0.1]
  for i in range(1, 6):
    assert alarms.active_alarms(records(*({'watch_gap': gap} for gap in gaps[:i]))) == []


def test_a_generator_without_variety_at_the_start_has_eight_records_to_gain_it():
  narrow = {'watch_spread': 0.1}
  assert alarms.active_alarms(records(*[narrow] * 7)) == []
  assert [a.name for a in alarms.active_alarms(records(*[narrow] * 8))] == ['collapse']
  assert alarms.active_alarms(records(*[narrow] * 7, {}, {})) == []
