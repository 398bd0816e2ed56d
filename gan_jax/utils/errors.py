"""Defines the errors that scripts print as a single line, without a traceback."""


class UserError(Exception):
  """Reports a mistake of the user; the message names the flag, its value and the correction."""


class AllProcessesError(UserError):
  """Reports the UserError of one process in every process of a run."""


class DivergedError(Exception):
  """Reports a non-finite value in training; the message names the tensor, the step and the checkpoint."""
