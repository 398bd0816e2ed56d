"""A worker of a study whose trials take a moment and train nothing: for tests that kill it."""

import random
import sys
import time

from gan_jax.sweep import optuna_worker, search_space
from gan_jax.utils.errors import UserError

AXES = search_space.axes(['g_lr=log(1e-4,1e-1,20)', 'k=1,2,3,4,5,6,7,8,9,10'])
FACTS = {'sweep': 'of the tests'}


def join(
  store, beat=0.5, patience=20.0, axes=AXES, facts=FACTS, sampler='grid', trials=0, **options
):
  """The study as every worker of these tests sees it."""
  return optuna_worker.join(
    store, 'test', facts, axes, sampler, trials, False, beat=beat, patience=patience, **options
  )


def evaluate(trial, lost):
  """The value is a function of the setting, so that a doubled or mixed up trial would show."""
  setting = dict(optuna_worker.suggest(trial, AXES, continuous=False))
  until = time.monotonic() + random.uniform(0.02, 0.3)
  while time.monotonic() < until and not lost():
    time.sleep(0.02)
  return optuna_worker.Found(value_of(setting), {'rows': '[]'})


def value_of(setting):
  """Of a setting, different for each."""
  return 1000 * float(setting['g_lr']) + float(setting['k'])


def serve(store, patience):
  """A worker's life: exit code 0 where all trials are done, 1 with a line on stderr for a user's mistake."""
  try:
    ended = optuna_worker.work(join(store, patience=patience), evaluate)
  except UserError as error:
    sys.exit(f'error: {error}')
  sys.exit(0 if ended else 3)
