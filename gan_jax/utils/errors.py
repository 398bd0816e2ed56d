"""The one kind of error that a user can mend: it is printed as a single line, without a traceback."""


class UserError(Exception):
  """What was asked for cannot be done; the message names the flag, its value and the mend."""


class AllProcessesError(UserError):
  """A UserError of one of many processes that every one of them raises."""


class DivergedError(Exception):
  """Training met a value that is not finite; the message names the tensor, the step and the checkpoint."""
