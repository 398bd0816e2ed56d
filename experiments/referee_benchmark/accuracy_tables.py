"""Formats how often each method's verdict was right, with intervals, and which verdicts were confused."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from scipy import stats

from . import baseline_classifiers

Record = dict[str, Any]
CaseFilter = Callable[[Record], bool]  # whether a case is in the group


def _is_perfect(record: Record) -> bool:
  return bool(record['truth'][0] == 'converged')


def _good_generator_or_weak_discriminator(record: Record) -> bool:
  """Returns whether the case has a D that does not separate samples from data, for either reason."""
  truths = ('converged', 'D too weak')
  return record['truth'][0] in truths and record['evidence']['own'] is not None


CASE_GROUPS: dict[str, CaseFilter] = {
  'verdict right': lambda record: True,
  'perfect sampler, no false alarm': _is_perfect,
  'is G good or is D weak': _good_generator_or_weak_discriminator,
}


def is_test_case(record: Record) -> bool:
  """Returns whether no threshold and no forest was fitted to this case: those of odd seeds."""
  return bool(record['protocol']['case']['seed'] % 2)


def format_share(right: int, n: int) -> str:
  """Formats right/n in per cent, with the exact interval of 95 % (Clopper and Pearson, 1934)."""
  if not n:
    return 'no case'
  interval = stats.binomtest(right, n).proportion_ci(0.95, 'exact')
  return f'{right}/{n} = {right / n:.1%} [{interval.low:.1%}, {interval.high:.1%}]'


def format_summary(records: Sequence[Record]) -> str:
  """Formats tables in Markdown: the accuracy of all methods on test cases, by fault, and confusions."""
  test = [r for r in records if is_test_case(r)]
  train = [r for r in records if not is_test_case(r)]
  verdicts_by_method = {'the referee': [r['verdict'] for r in test]}
  for name, features in baseline_classifiers.BASELINES.items():
    verdicts_by_method[name] = baseline_classifiers.predict_verdicts(features, train, test)
  lines = [f'{len(records)} cases, {len(test)} of them test cases; right on test cases:', '']
  lines += [f'| | {" | ".join(CASE_GROUPS)} |', f'|---|{"---|" * len(CASE_GROUPS)}']
  for name, verdicts in verdicts_by_method.items():
    cells = [_accuracy(test, verdicts, in_group) for in_group in CASE_GROUPS.values()]
    lines.append(f'| {name} | {" | ".join(cells)} |')
  train_verdicts = [r['verdict'] for r in train]
  train_accuracy = _accuracy(train, train_verdicts, CASE_GROUPS['verdict right'])
  lines += ['', f'The referee on the {len(train)} training cases: {train_accuracy}.']
  lines += ['', *_table_by_fault(test), '', *_confusion_table(test)]
  return '\n'.join(lines) + '\n'


def _accuracy(records: Sequence[Record], verdicts: Sequence[str], in_group: CaseFilter) -> str:
  hits = [v in r['truth'] for r, v in zip(records, verdicts, strict=True) if in_group(r)]
  return format_share(sum(hits), len(hits))


def _table_by_fault(records: Sequence[Record]) -> list[str]:
  """Returns a row for each fault: how often the verdict was right, and the wrong ones."""
  lines = ['| fault | right | wrong verdicts |', '|---|---|---|']
  for fault in dict.fromkeys(r['protocol']['case']['kind'] for r in records):
    cases = [r for r in records if r['protocol']['case']['kind'] == fault]
    wrong = Counter(r['verdict'] for r in cases if r['verdict'] not in r['truth'])
    names = ', '.join(f'{name} {n}' for name, n in wrong.most_common())
    lines.append(f'| {fault} | {len(cases) - wrong.total()}/{len(cases)} | {names} |')
  return lines


def _confusion_table(records: Sequence[Record]) -> list[str]:
  """Returns truths as rows and verdicts as columns; a right verdict counts as the truth's first name."""
  truths = list(dict.fromkeys(r['truth'][0] for r in records))
  verdict = lambda r: r['truth'][0] if r['verdict'] in r['truth'] else r['verdict']
  columns = truths + sorted({verdict(r) for r in records} - set(truths))
  lines = [f'| truth \\ verdict | {" | ".join(columns)} |', f'|---|{"---|" * len(columns)}']
  for truth in truths:
    counts = Counter(verdict(r) for r in records if r['truth'][0] == truth)
    lines.append(f'| {truth} | {" | ".join(str(counts[c] or "") for c in columns)} |')
  return lines
