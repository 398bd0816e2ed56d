"""Shows the progress of training on a terminal or in a log."""

import contextlib
import sys
import time
from typing import TextIO

from tqdm import tqdm

_LINE_EVERY = 15.0  # seconds between progress lines where there is no terminal


class ProgressBar:
  """Shows progress: a bar on a terminal, elsewhere a line every 15 seconds."""

  def __init__(self, step: int, steps: int, stream: TextIO | None = None):
    stream = stream or sys.stderr
    self._terminal = stream.isatty()
    self._stream, self._steps = stream, steps
    self._last_line = float('-inf')
    self._first: tuple[float, int] | None = None  # time and step of the update after compilation
    style = {'unit': 'step', 'dynamic_ncols': True, 'smoothing': 0.1, 'disable': not self._terminal}
    self._bar = tqdm(total=steps, initial=step, file=stream, **style)

  def update(self, step: int, values: dict[str, float]) -> None:
    """Shows the step, and d_loss, g_loss, d_real and d_fake where `values` has them."""
    labels = {'d_loss': 'D {:.3f}', 'g_loss': 'G {:.3f}'}
    labels |= {'d_real': 'D(x) {:.2f}', 'd_fake': 'D(G(z)) {:.2f}'}
    text = '  '.join(x.format(values[name]) for name, x in labels.items() if name in values)
    if self._terminal:
      self._bar.set_postfix_str(text, refresh=False)
      self._bar.update(step - self._bar.n)
      return
    now = time.monotonic()
    self._first = self._first or (now, step)
    if now - self._last_line >= _LINE_EVERY or step == self._steps:
      self._last_line = now
      self.say(f'step {step}/{self._steps}  {text}{self._time_left(step, now)}')

  def _time_left(self, step: int, now: float) -> str:
    began, first_step = self._first or (now, step)
    if step == first_step:
      return ''
    rate = (step - first_step) / max(now - began, 1e-9)
    return f'  {rate:.1f} steps/s  {tqdm.format_interval((self._steps - step) / rate)} left'

  def say(self, line: str) -> None:
    """Prints a line above the bar."""
    if self._terminal:
      self._bar.write(line, file=self._stream)
    else:
      with contextlib.suppress(BrokenPipeError):  # a closed pipe must not end training
        print(line, file=self._stream, flush=True)

  def close(self) -> None:
    """Closes the bar."""
    self._bar.close()
