"""When a run is said to go wrong, and that it is said once."""

import pytest

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


def course(*changes):
  return [HEALTHY | {'step': i} | change for i, change in enumerate(changes)]


def test_a_healthy_course_raises_nothing():
  assert alarms.active_alarms(course(*[{}] * 10)) == []


@pytest.mark.parametrize('name', alarms.ALARM_RULES)
def test_each_fault_raises_its_own_alarm_at_the_second_look(name):
  fault = FAULTS[name]
  assert alarms.active_alarms(course({}, {}, fault)) == []
  (alarm,) = alarms.active_alarms(course({}, {}, fault, fault))
  assert alarm.name == name
  assert '\n' not in alarm.says


@pytest.mark.parametrize('name', alarms.ALARM_RULES)
def test_an_alarm_is_news_once_and_again_when_it_comes_back(name):
  fault = FAULTS[name]
  told = course({}, {}, fault, fault, fault, {}, {}, fault, fault)
  rang = [i for i in range(1, len(told) + 1) if alarms.new_alarms(told[:i])]
  assert rang == [4, 9]


def test_one_look_says_nothing():
  assert alarms.active_alarms(course(FAULTS['collapse'])) == []
  assert alarms.active_alarms([]) == []


def test_a_start_far_from_the_data_is_no_divergence():
  gaps = [2.0, 1.0, 0.5, 0.2, 0.1]
  for i in range(1, 6):
    assert alarms.active_alarms(course(*({'watch_gap': gap} for gap in gaps[:i]))) == []


def test_a_g_that_begins_with_one_thing_has_time_to_find_more():
  narrow = {'watch_spread': 0.1}
  assert alarms.active_alarms(course(*[narrow] * 7)) == []
  assert [a.name for a in alarms.active_alarms(course(*[narrow] * 8))] == ['collapse']
  assert alarms.active_alarms(course(*[narrow] * 7, {}, {})) == []
