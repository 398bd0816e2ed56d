"""Tests that every signal by which a scheduler announces an end is caught once, and named by the exit code."""

import os
import signal

import pytest

from experiments import exit_codes
from gan_jax.training.stop_signals import STOP_SIGNALS, catch_stop_signals

CODES = {'TERM': 143, 'INT': 130, 'HUP': 129, 'USR1': 138, 'USR2': 140, 'XCPU': 152}
SIGNALS = {name: signal.Signals[f'SIG{name}'] for name in CODES}


@pytest.fixture(autouse=True)
def noted():
  """Replaces the handlers of all these signals by one that notes them, for the time of a test."""
  numbers = []
  before = {
    each: signal.signal(each, lambda number, _: numbers.append(number)) for each in SIGNALS.values()
  }
  yield numbers
  for each, handler in before.items():
    signal.signal(each, handler)


def test_each_signal_of_a_scheduler_is_caught():
  assert {*STOP_SIGNALS} == {*SIGNALS.values()}


@pytest.mark.parametrize('name', CODES)
def test_a_signal_is_received_and_the_exit_code_says_which(name, noted):
  with catch_stop_signals() as received:
    assert received == []
    os.kill(os.getpid(), SIGNALS[name])
    assert received == [SIGNALS[name]]
    assert noted == []
  assert exit_codes.after_signal(received[0]) == CODES[name]
  os.kill(os.getpid(), SIGNALS[name])  # the handler of before is back
  assert noted == [SIGNALS[name]]


@pytest.mark.parametrize(('second', 'ends'), [('INT', True), ('TERM', True), ('XCPU', False)])
def test_a_second_signal_ends_at_once_unless_a_scheduler_repeats_its_warning(second, ends, noted):
  with catch_stop_signals() as received:
    os.kill(os.getpid(), signal.SIGXCPU)
    os.kill(os.getpid(), SIGNALS[second])
    assert received == [signal.SIGXCPU]
    assert noted == ([SIGNALS[second]] if ends else [])
