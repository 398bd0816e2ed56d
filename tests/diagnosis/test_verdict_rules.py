"""Tests which statistics lead to which verdict, and its format."""

import dataclasses
import json
import re

import numpy as np
import pytest

from gan_jax.config.run_config import Config
from gan_jax.diagnosis import verdict_advice, verdict_formatting, verdict_rules
from gan_jax.diagnosis.divergence_parts import DivergencePart
from gan_jax.metrics.precision_recall import PrecisionRecall
from tests.helpers.example_statistics import (
  BAD,
  EVEN,
  PERFECT,
  copies,
  discriminator,
  history,
  separation,
  with_scores,
)

PARTIAL = with_scores(
  BAD._replace(parts=[DivergencePart('missing modes', 0.25, 'half of them')]),
  precision_recall=PrecisionRecall(0.98, 0.6, 1.0, 0.55),
  cells=EVEN._replace(fake=np.array([0.5, 0.5, 0.0, 0.0])),
)
FALLING = tuple(1.0 / (i + 1) for i in range(12))
CASES = {
  'converged': [
    PERFECT,
    PERFECT._replace(separation=separation(0.008)),  # proven, and too small to matter
    PERFECT._replace(discriminator=discriminator(0.0)),  # G good, D undecided
    PERFECT._replace(discriminator=discriminator(0.0), history=history(gap=FALLING)),
  ],
  'G behind': [
    BAD,
    with_scores(BAD, cells=EVEN._replace(spread=np.full(4, 0.83))),
    BAD._replace(separation=separation(0.004, detectable=0.03)),  # few examples
    BAD._replace(discriminator=discriminator(0.25)),
  ],
  'D too weak': [
    BAD._replace(discriminator=discriminator(0.0)),
    BAD._replace(discriminator=discriminator(0.1)),
    BAD._replace(discriminator=discriminator(0.0), history=history(gap=(2.0,) * 12, d=0.5)),
  ],
  'D too strong': [
    BAD._replace(separation=separation(0.69), discriminator=discriminator(0.65, slope=0.01)),
  ],
  'D overfitted': [BAD._replace(discriminator=discriminator(0.2, 0.6, overfit=0.9))],
  'mode collapse': [
    PARTIAL,
    PARTIAL._replace(discriminator=discriminator(0.25)),
    with_scores(BAD, cells=EVEN._replace(spread=np.full(4, 0.2))),  # inside all modes
  ],
  'memorised training data': [
    PERFECT._replace(copies=copies(exact=0.3)),
    PERFECT._replace(copies=copies(near=0.9, p=1e-30)),
    BAD._replace(copies=copies(near=0.9, p=1e-30)),
  ],
  'still improving': [
    BAD._replace(discriminator=discriminator(0.25), history=history(gap=FALLING)),
    BAD._replace(
      discriminator=discriminator(0.25), history=history(near=tuple(9 * x for x in FALLING))
    ),
  ],
  'diverged or cycling': [
    BAD._replace(finite_share=0.7),
    BAD._replace(spread_ratio=1000.0),
    BAD._replace(discriminator=discriminator(0.3), history=history(gap=(0.01,) * 8 + (0.9,) * 4)),
    BAD._replace(discriminator=discriminator(0.3), history=history(drift=1.0)),
    BAD._replace(discriminator=discriminator(0.3), history=history(gap=(1.5,) * 12)),
  ],
  'not enough evidence': [
    PERFECT._replace(separation=separation(0.02, p=0.3, detectable=0.05)),
  ],
}
FLAT = [(name, s) for name, examples in CASES.items() for s in examples]


def test_every_verdict_has_a_case_and_advice():
  by_prediction = {'not settled'}
  assert set(CASES) | by_prediction == set(verdict_rules.VERDICTS) == set(verdict_advice.ADVICE)


@pytest.mark.parametrize(('name', 'statistics'), FLAT)
def test_statistics_lead_to_their_verdict(name, statistics):
  verdict = verdict_rules.decide_verdict(statistics)
  assert verdict.name == name
  assert 0.5 <= verdict.confidence <= 1
  assert 1 <= len(verdict.facts) <= 3
  assert verdict.advice == verdict_advice.ADVICE[name]


@pytest.mark.parametrize(('name', 'statistics'), FLAT)
def test_text_begins_with_the_verdict_and_record_is_json(name, statistics):
  verdict = verdict_rules.decide_verdict(statistics)
  text = verdict_formatting.verdict_as_text(verdict, statistics, {'seed': 0})
  assert text.splitlines()[0].startswith(f'verdict: {name} (confidence ')
  assert text.splitlines()[-1] == 'protocol: seed 0'
  record = json.loads(
    json.dumps(verdict_formatting.verdict_as_json(verdict, statistics, {'seed': 0}))
  )
  assert record['verdict'] == name
  assert record['protocol'] == {'seed': 0}


def test_advice_names_flags_that_exist():
  known = {field.name for field in dataclasses.fields(Config)} | {'checkpoint', 'weights'}
  for advice in verdict_advice.ADVICE.values():
    for flag in re.findall(r'--(\w+)', ' '.join(advice)):
      assert flag in known, flag


def test_confidence_grows_with_the_divergence():
  weak = verdict_rules.decide_verdict(BAD._replace(separation=separation(0.02)))
  strong = verdict_rules.decide_verdict(BAD._replace(separation=separation(0.6)))
  assert (weak.name, strong.name) == ('G behind', 'G behind')
  assert strong.confidence >= weak.confidence


def test_a_perfect_sampler_has_no_symptom():
  assert max(verdict_rules.compute_symptoms(PERFECT)) <= 0


def test_a_generator_that_moves_near_the_data_is_not_unstable():
  """At a high learning rate G is far from its average, in a run that improves as in one that cycles."""
  moving = lambda gap: BAD._replace(
    discriminator=discriminator(0.25), history=history(gap, drift=0.5)
  )
  steady = verdict_rules.compute_symptoms(moving([0.35, 0.1, 0.02, *[0.001] * 9]))
  assert steady.restless < 0
  cycling = verdict_rules.compute_symptoms(moving([0.3, 0.1, 0.2, 0.08, 0.25, 0.15] * 2))
  assert cycling.restless > 0


def test_a_run_whose_learning_rates_have_ended_is_not_still_improving():
  falling = BAD._replace(discriminator=discriminator(0.25), history=history(gap=FALLING))
  assert verdict_rules.decide_verdict(falling).name == 'still improving'
  ended = verdict_rules.decide_verdict(falling._replace(rates_are_zero=True))
  assert ended.name not in ('still improving', 'diverged or cycling')


def test_a_few_copies_are_named_whatever_the_verdict():
  verdict = verdict_rules.decide_verdict(BAD._replace(copies=copies(near=0.08, p=1e-20)))
  assert verdict.name == 'G behind'
  assert verdict.facts[-1].startswith('0.0% of samples equal one of 20,000 training examples')
