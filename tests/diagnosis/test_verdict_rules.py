"""The verdict that each kind of evidence leads to, and how it is told."""

import functools
import json

import numpy as np
import pytest

from gan_jax.diagnosis import verdict_rules, verdict_text
from gan_jax.diagnosis.diagnostic_statistics import (
  DiagnosticStatistics,
  MemorisationScores,
  MonitorHistory,
)
from gan_jax.diagnosis.discriminator_bound import DiscriminatorStatistics
from gan_jax.metrics.cell_occupancy import CellOccupancy
from gan_jax.metrics.precision_recall import PrecisionRecall
from gan_jax.metrics.two_sample import C2st, JsdBound

REAL = PrecisionRecall(0.98, 0.98, 1.0, 0.97)
EVEN = CellOccupancy(np.full(4, 0.25), np.full(4, 0.25), 4000, 4000, np.ones(4))


def bound(value):
  return JsdBound(value, value - 0.005, value + 0.005)


def own(held_out=0.3, train=None, overfit=0.5, slope=0.5):
  train = held_out if train is None else train
  return DiscriminatorStatistics(
    bound(held_out), bound(train), overfit, 0.01, slope, 0.6, 0.4, {'edges': [0.0, 1.0]}
  )


def course(gap=(0.1,) * 12, near=(1.0,) * 12, drift=0.05, d=0.8):
  n = len(gap)
  return MonitorHistory(list(range(n)), list(gap), list(near), [drift] * n, [0.5] * n, [d] * n)


PERFECT = DiagnosticStatistics(
  n={'train': 20_000, 'held_out': 20_000, 'fake': 20_000},
  finite=True,
  far=1.0,
  embedding='points',
  ladder=[(0.0, bound(0.0)), (0.1, bound(0.0))],
  null=bound(0.0),
  c2st=C2st(0.5, 0.5, 8000),
  manifold=REAL,
  manifold_null=REAL,
  frechet=0.01,
  frechet_null=0.01,
  cells=EVEN,
  cells_null=EVEN,
  memory=MemorisationScores(38.0, 0.0, 0.05),
  memory_null=MemorisationScores(38.0, 0.0, 0.05),
)
BAD = PERFECT._replace(
  ladder=[(0.0, bound(0.3)), (0.1, bound(0.1))], manifold=PrecisionRecall(0.3, 0.9, 0.2, 0.3)
)
PARTIAL = BAD._replace(
  manifold=PrecisionRecall(0.98, 0.6, 1.0, 0.55),
  cells=EVEN._replace(fake=np.array([0.5, 0.5, 0.0, 0.0])),
)
FALLING = tuple(1.0 / (i + 1) for i in range(12))
CASES = {
  'converged': [
    PERFECT,
    PERFECT._replace(own=own(0.0)),  # G good, D undecided
    PERFECT._replace(own=own(0.0), history=course(gap=FALLING)),
  ],
  'G behind': [BAD, BAD._replace(own=own(0.25))],
  'D too weak': [
    BAD._replace(own=own(0.0)),
    BAD._replace(own=own(0.1)),
    BAD._replace(own=own(0.0), history=course(gap=(2.0,) * 12, d=0.5)),
  ],
  'D too strong': [
    BAD._replace(ladder=[(0.0, bound(0.69))], own=own(0.65, slope=0.01)),
  ],
  'D overfitted': [BAD._replace(own=own(0.2, 0.6, overfit=0.9))],
  'mode collapse': [PARTIAL, PARTIAL._replace(own=own(0.25))],
  'memorised training data': [
    PERFECT._replace(memory=MemorisationScores(2.0, -20.0, 1.0)),
    BAD._replace(memory=MemorisationScores(2.0, -20.0, 1.0)),
  ],
  'still improving': [
    BAD._replace(own=own(0.25), history=course(gap=FALLING)),
    BAD._replace(own=own(0.25), history=course(near=tuple(9 * x for x in FALLING))),
  ],
  'diverged or cycling': [
    BAD._replace(finite=False),
    BAD._replace(far=1000.0),
    BAD._replace(own=own(0.3), history=course(gap=(0.01,) * 8 + (0.9,) * 4)),
    BAD._replace(own=own(0.3), history=course(drift=1.0)),
    BAD._replace(own=own(0.3), history=course(gap=(1.5,) * 12)),
  ],
  'not enough evidence': [
    PERFECT._replace(n={'train': 20_000, 'held_out': 500, 'fake': 20_000}),
    BAD._replace(n={'train': 20_000, 'held_out': 20_000, 'fake': 999}),
  ],
}
FLAT = [(name, e) for name, examples in CASES.items() for e in examples]


def test_every_verdict_has_a_case_and_advice():
  assert set(CASES) == set(verdict_rules.VERDICTS) == set(verdict_rules.ADVICE)


@pytest.mark.parametrize(('name', 'evidence'), FLAT)
def test_evidence_leads_to_its_verdict(name, evidence):
  verdict = verdict_rules.decide_verdict(evidence)
  assert verdict.name == name
  assert 0.5 <= verdict.confidence <= 1
  assert 1 <= len(verdict.facts) <= 3
  if name != 'not enough evidence':
    assert len(verdict.facts) == 3
  assert verdict.advice == verdict_rules.ADVICE[name]


@pytest.mark.parametrize(('name', 'evidence'), FLAT)
def test_text_begins_with_the_verdict_and_record_is_json(name, evidence):
  verdict = verdict_rules.decide_verdict(evidence)
  text = verdict_text.verdict_as_text(verdict, evidence, {'seed': 0})
  assert text.splitlines()[0].startswith(f'verdict: {name} (confidence ')
  assert text.splitlines()[-1] == 'protocol: seed 0'
  record = json.loads(json.dumps(verdict_text.verdict_as_json(verdict, evidence, {'seed': 0})))
  assert record['verdict'] == name
  assert record['protocol'] == {'seed': 0}


def test_advice_names_flags_that_exist():
  import dataclasses
  import re

  from gan_jax.config.config import Config

  known = {field.name for field in dataclasses.fields(Config)} | {'checkpoint'}
  for advice in verdict_rules.ADVICE.values():
    for flag in re.findall(r'--(\w+)', ' '.join(advice)):
      assert flag in known, flag


def test_confidence_grows_with_the_evidence():
  weak = verdict_rules.decide_verdict(BAD._replace(ladder=[(0.0, bound(0.02))]))
  strong = verdict_rules.decide_verdict(BAD._replace(ladder=[(0.0, bound(0.6))]))
  assert (weak.name, strong.name) == ('G behind', 'G behind')
  assert strong.confidence >= weak.confidence


@functools.cache
def _signs():
  return verdict_rules.compute_symptoms(PERFECT)


def test_a_perfect_sampler_has_no_symptom():
  assert max(_signs()) <= 0
