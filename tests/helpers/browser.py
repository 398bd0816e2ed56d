"""A headless Chromium as the tests see it: one page, driven through a pipe, with no package between."""

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
# The DevTools protocol on file descriptors 3 and 4: no port, and no client library.
_IN, _OUT = 3, 4
_FLAGS = (
  *('--headless', '--remote-debugging-pipe', '--no-sandbox', '--disable-gpu', '--no-first-run'),
  *('--disable-dev-shm-usage', '--disable-background-networking', '--disable-extensions'),
  *('--hide-scrollbars', '--mute-audio'),
)


def find():
  """The path of a Chromium or Chrome; None where there is none."""
  return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
  """One tab; what it complains of is kept in `complaints`, what it asked for in `requests`."""

  def __init__(self, executable, profile):
    theirs, self._commands = map(_high, os.pipe())
    self._answers, answering = map(_high, os.pipe())
    quiet = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
    duplicates = [(os.POSIX_SPAWN_DUP2, theirs, _IN), (os.POSIX_SPAWN_DUP2, answering, _OUT)]
    command = [executable, *_FLAGS, f'--user-data-dir={profile}', 'about:blank']
    # A group of its own, so that its helpers end with it.
    self._process = os.posix_spawn(
      executable, command, os.environ, file_actions=[quiet, *duplicates], setpgroup=0
    )
    os.close(theirs)
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
    while (answer := self._next()).get('id') != self._last:
      pass
    assert 'error' not in answer, (method, answer['error'])
    return answer['result']

  def _next(self, timeout=60):
    """The next message; events are noted on the way."""
    deadline = time.monotonic() + timeout
    while b'\0' not in self._buffer:
      ready, _, _ = select.select([self._answers], [], [], max(0, deadline - time.monotonic()))
      assert ready, f'the browser said nothing for {timeout} s'
      received = os.read(self._answers, 1 << 20)
      assert received, 'the browser has ended'
      self._buffer += received
    line, self._buffer = self._buffer.split(b'\0', 1)
    message = json.loads(line)
    self._note(message.get('method'), message.get('params'))
    return message

  def _note(self, method, params):
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
    """Load a file in a window of this size, in CSS pixels, and wait until it and its pictures are there."""
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
      self._next()

  def evaluate(self, expression):
    """The value of an expression in the page."""
    found = self._call('Runtime.evaluate', expression=expression, returnByValue=True)
    assert 'exceptionDetails' not in found, found
    return found['result'].get('value')

  def screenshot(self, path):
    """The whole page as a PNG."""
    taken = self._call('Page.captureScreenshot', captureBeyondViewport=True)
    path.write_bytes(base64.b64decode(taken['data']))

  def close(self):
    """End the browser and all that it started."""
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self._process, signal.SIGKILL)
    os.waitpid(self._process, 0)
    os.close(self._commands)
    os.close(self._answers)


def _high(descriptor):
  """The same file under a number that the browser's own two do not overwrite."""
  moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
  os.close(descriptor)
  return moved
