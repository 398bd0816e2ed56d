"""How often each reading of the planted cases was right, with intervals, and what was taken for what."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from scipy import stats

from experiments.referee_benchmark import baseline_classifiers

Record = dict[str, Any]
CaseFilter = Callable[[Record], bool]  # whether a case belongs to it


def _perfect(record: Record) -> bool:
  return bool(record['truth'][0] == 'converged')


def _doubtful(record: Record) -> bool:
  """D is there and cannot tell: G is good, or D is weak."""
  known = ('converged', 'D too weak')
  return record['truth'][0] in known and record['evidence']['own'] is not None


CASE_GROUPS: dict[str, CaseFilter] = {
  'verdict right': lambda record: True,
  'perfect sampler, no false alarm': _perfect,
  'is G good or is D weak': _doubtful,
}


def is_test_case(record: Record) -> bool:
  """Whether no threshold was set, and no forest grown, by this case."""
  return bool(record['protocol']['case']['seed'] % 2)


def format_share(right: int, n: int) -> str:
  """So many of n in per cent, with the exact interval of 95 % (Clopper and Pearson)."""
  if not n:
    return 'no case'
  interval = stats.binomtest(right, n).proportion_ci(0.95, 'exact')
  return f'{right}/{n} = {right / n:.1%} [{interval.low:.1%}, {interval.high:.1%}]'


def format_summary(records: Sequence[Record]) -> str:
  """Tables in Markdown: the referee and the other readings on unseen cases, and who was taken for what."""
  asked, known = (
    [r for r in records if is_test_case(r)],
    [r for r in records if not is_test_case(r)],
  )
  said = {'the referee': [r['verdict'] for r in asked]}
  for name, read in baseline_classifiers.BASELINES.items():
    said[name] = baseline_classifiers.predict_verdicts(read, known, asked)
  lines = [f'{len(records)} cases, {len(asked)} of them unseen; right on the unseen ones:', '']
  lines += [f'| | {" | ".join(CASE_GROUPS)} |', f'|---|{"---|" * len(CASE_GROUPS)}']
  for name, verdicts in said.items():
    cells = [_answered(asked, verdicts, question) for question in CASE_GROUPS.values()]
    lines.append(f'| {name} | {" | ".join(cells)} |')
  seen = [r['verdict'] for r in known]
  lines += ['', f'The referee on the {len(known)} cases that set its thresholds: ']
  lines[-1] += _answered(known, seen, CASE_GROUPS['verdict right']) + '.'
  lines += ['', *_by_kind(asked), '', *_confusion(asked)]
  return '\n'.join(lines) + '\n'


def _answered(records: Sequence[Record], verdicts: Sequence[str], question: CaseFilter) -> str:
  hits = [v in r['truth'] for r, v in zip(records, verdicts, strict=True) if question(r)]
  return format_share(sum(hits), len(hits))


def _by_kind(records: Sequence[Record]) -> list[str]:
  """What was planted, how often it was found, and what it was taken for instead."""
  lines = ['| planted | found | taken for |', '|---|---|---|']
  for kind in dict.fromkeys(r['protocol']['case']['kind'] for r in records):
    own = [r for r in records if r['protocol']['case']['kind'] == kind]
    wrong = Counter(r['verdict'] for r in own if r['verdict'] not in r['truth'])
    missed = ', '.join(f'{name} {n}' for name, n in wrong.most_common())
    lines.append(f'| {kind} | {len(own) - wrong.total()}/{len(own)} | {missed} |')
  return lines


def _confusion(records: Sequence[Record]) -> list[str]:
  """Truth by row, verdict by column; a right verdict counts under the truth's first name."""
  names = list(dict.fromkeys(r['truth'][0] for r in records))
  told = lambda r: r['truth'][0] if r['verdict'] in r['truth'] else r['verdict']
  columns = names + sorted({told(r) for r in records} - set(names))
  lines = [f'| truth \\ verdict | {" | ".join(columns)} |', f'|---|{"---|" * len(columns)}']
  for name in names:
    counts = Counter(told(r) for r in records if r['truth'][0] == name)
    lines.append(f'| {name} | {" | ".join(str(counts[c] or "") for c in columns)} |')
  return lines
