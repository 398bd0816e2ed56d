"""Defines the exit codes of the scripts, beside 0 for success and 4 for a lost process of the run."""

import signal

EXIT_USER_ERROR = 2
EXIT_DIVERGED = 3
EXIT_ALARM = 5  # an alarm of --stop_on ended training
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def after_signal(received: signal.Signals) -> int:
  """Returns the exit code of a process that saved and ended at a signal: 128 and its number, as in a shell."""
  return 128 + received.value
