"""Formats the numbers of a report for reading, and tells numbers from what a damaged file may hold."""

from typing import Any, TypeGuard

_LIMIT = 1e300  # beyond it charts overflow
_LEAST_P = 1e-4  # smaller ones are equally certain


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


def format_p_value(p: Any) -> str:
  """Formats a p-value as 'p = 0.03', of a very small one only its bound; '' without a number."""
  if not is_number(p):
    return ''
  return f'p = {p:.1g}' if p >= _LEAST_P else f'p < {_LEAST_P:.4f}'
