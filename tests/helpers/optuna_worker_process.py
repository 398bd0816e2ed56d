"""Runs an Optuna worker whose trials wait for a moment and train nothing."""

import random
import sys
import time

from gan_jax.sweep import optuna_study, optuna_worker, search_space
from gan_jax.utils.errors import UserError

AXES = search_space.parse_axes(['g_lr=log(1e-4,1e-1,20)', 'k=1,2,3,4,5,6,7,8,9,10'])
DESCRIPTION = {'sweep': 'test'}


def join(
  store, heartbeat=0.5, patience=20.0, axes=AXES, description=DESCRIPTION, sampler='grid', trials=0
):
  """Returns the study that all workers of a test share."""
  options = optuna_study.StudyOptions(store, 'test', sampler, trials, False, heartbeat, patience)
  return optuna_study.join_study(options, description, axes, False)


def evaluate(trial, lost):
  """Waits, then returns a value that identifies the setting, to detect repeated or exchanged trials."""
  setting = dict(optuna_study.suggest_setting(trial, AXES, continuous=False))
  until = time.monotonic() + random.uniform(0.02, 0.3)
  while time.monotonic() < until and not lost():
    time.sleep(0.02)
  return optuna_worker.TrialResult(value_of(setting), {'rows': '[]'})


def value_of(setting):
  """Returns a number that is different for each setting."""
  return 1000 * float(setting['g_lr']) + float(setting['k'])


def serve(store, patience):
  """Runs a worker to its end; exits with 0 where all trials are finished, with 1 for a UserError."""
  try:
    ended = optuna_worker.run_trials(join(store, patience=patience), evaluate)
  except UserError as error:
    sys.exit(f'error: {error}')
  sys.exit(0 if ended else 3)
