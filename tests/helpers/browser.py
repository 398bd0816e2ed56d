"""Drives one page of a headless Chromium over the DevTools protocol."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
_IN, _OUT = 3, 4  # file descriptors that --remote-debugging-pipe reads commands from and answers on
_FLAGS = (
  *('--headless', '--remote-debugging-pipe', '--no-sandbox', '--disable-gpu', '--no-first-run'),
  *('--disable-dev-shm-usage', '--disable-background-networking', '--disable-extensions'),
  *('--hide-scrollbars', '--mute-audio'),
)


def find_browser():
  """Returns the path of an installed Chromium or Chrome, or None."""
  return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
  """Holds a browser with one tab: `complaints` lists console errors, `requests` the URLs that were loaded."""

  def __init__(self, executable, profile):
    reading, self._commands = map(_move_to_high_descriptor, os.pipe())
    self._answers, answering = map(_move_to_high_descriptor, os.pipe())
    quiet = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
    duplicates = [(os.POSIX_SPAWN_DUP2, reading, _IN), (os.POSIX_SPAWN_DUP2, answering, _OUT)]
    command = [executable, *_FLAGS, f'--user-data-dir={profile}', 'about:blank']
    # A new process group, so that `close` can end the child processes too.
    self._process = os.posix_spawn(
      executable, command, os.environ, file_actions=[quiet, *duplicates], setpgroup=0
    )
    os.close(reading)
    os.close(answering)
    self._buffer, self._last = b'', 0
    self._session = None
    self.complaints, self.requests, self._loaded = [], [], 0
    (target,) = (x for x in self._call('Target.getTargets')['targetInfos'] if x['type'] == 'page')
    attached = self._call('Target.attachToTarget', targetId=target['targetId'], flatten=True)
    self._session = attached['sessionId']
    for domain in ('Page', 'Runtime', 'Log', 'Network'):
      self._call(f'{domain}.enable')

  def _call(self, method, **params):
    self._last += 1
    message = {'id': self._last, 'method': method, 'params': params}
    if self._session:
      message['sessionId'] = self._session
    os.write(self._commands, json.dumps(message).encode() + b'\0')
    while (answer := self._receive()).get('id') != self._last:
      pass
    assert 'error' not in answer, (method, answer['error'])
    return answer['result']

  def _receive(self, timeout=60):
    """Returns the next message; events are recorded."""
    deadline = time.monotonic() + timeout
    while b'\0' not in self._buffer:
      ready, _, _ = select.select([self._answers], [], [], max(0, deadline - time.monotonic()))
      assert ready, f'no message of the browser for {timeout} s'
      received = os.read(self._answers, 1 << 20)
      assert received, 'the browser has ended'
      self._buffer += received
    line, self._buffer = self._buffer.split(b'\0', 1)
    message = json.loads(line)
    self._record(message.get('method'), message.get('params'))
    return message

  def _record(self, method, params):
    if method == 'Page.loadEventFired':
      self._loaded += 1
    elif method == 'Network.requestWillBeSent':
      self.requests.append(params['request']['url'])
    elif method == 'Log.entryAdded':
      self.complaints.append(params['entry']['text'])
    elif method == 'Runtime.consoleAPICalled' and params['type'] in ('error', 'warning', 'assert'):
      self.complaints.append(str(params['args']))
    elif method == 'Runtime.exceptionThrown':
      self.complaints.append(str(params['exceptionDetails']))

  def open(self, path, width, height=900, scheme='light'):
    """Loads a file in a window of `width` x `height` CSS pixels, with its pictures."""
    self._call(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 600,
    )
    features = [{'name': 'prefers-color-scheme', 'value': scheme}]
    self._call('Emulation.setEmulatedMedia', features=features)
    self.complaints, self.requests, before = [], [], self._loaded
    assert 'errorText' not in self._call('Page.navigate', url=path.resolve().as_uri())
    while self._loaded == before:
      self._receive()

  def evaluate(self, expression):
    """Returns the value of a JavaScript expression in the page."""
    answer = self._call('Runtime.evaluate', expression=expression, returnByValue=True)
    assert 'exceptionDetails' not in answer, answer
    return answer['result'].get('value')

  def screenshot(self, path):
    """Writes the whole page as a PNG."""
    taken = self._call('Page.captureScreenshot', captureBeyondViewport=True)
    path.write_bytes(base64.b64decode(taken['data']))

  def close(self):
    """Ends the browser with its child processes."""
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self._process, signal.SIGKILL)
    os.waitpid(self._process, 0)
    os.close(self._commands)
    os.close(self._answers)


def _move_to_high_descriptor(descriptor):
  """Moves a file to a descriptor of 10 or more, since the browser gets 3 and 4."""
  moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
  os.close(descriptor)
  return moved
