"""Formats the numbers of a report for reading, and tells numbers from what a damaged file may hold."""

from typing import Any, TypeGuard

_LIMIT = 1e300  # beyond it charts overflow


def is_number(value: Any) -> TypeGuard[float]:
  """Returns whether `value` is an int or a float (a bool is not) that is finite and can be drawn."""
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  return number and -_LIMIT < value < _LIMIT


def format_value(value: Any) -> str:
  """Formats a number with three digits or with commas; '–' for None, nan and infinities, 'yes' for True."""
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  if not isinstance(value, (int, float)):
    return '–' if value is None else str(value)
  if not -_LIMIT < value < _LIMIT:
    return '–'
  if abs(value) < 1e15 and (value == int(value) or abs(value) >= 1000):
    return f'{value:,.0f}'.replace('-', '−')
  return f'{value:.3g}'.replace('-', '−')
