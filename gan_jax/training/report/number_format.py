"""Formats the numbers of a report for reading, and tells numbers from what a damaged file may hold."""

import math
from typing import Any, TypeGuard


def is_number(value: Any) -> TypeGuard[float]:
  """Returns whether `value` is a finite int or float (a bool is not)."""
  return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def format_value(value: Any) -> str:
  """Formats a number with three digits or with commas; '–' for None, nan and infinities, 'yes' for True."""
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  if not isinstance(value, (int, float)):
    return '–' if value is None else str(value)
  if not math.isfinite(value):
    return '–'
  if abs(value) < 1e15 and (value == int(value) or abs(value) >= 1000):
    return f'{value:,.0f}'.replace('-', '−')
  return f'{value:.3g}'.replace('-', '−')
