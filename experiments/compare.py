"""Prints the evaluations of several runs side by side.

  python -m experiments.compare --runs=runs/a,runs/b

Reads the newest evaluation of each run, as `experiments.evaluate` wrote it, or the evaluation files
that --runs names. Exits with an error unless their protocols (data, split, numbers of samples,
features, seed and so on) are equal.
"""

from absl import flags

from gan_jax.evaluation import compare_runs
from gan_jax.utils.errors import UserError

from . import command_line

_RUNS = flags.DEFINE_list('runs', None, 'Folders of runs or evaluation files, separated by commas.')
_SPLIT = flags.DEFINE_enum('split', 'test', ['test', 'validation'], 'Held-out images, for folders.')
_WEIGHTS = flags.DEFINE_enum('weights', 'ema', ['ema', 'raw'], 'Averaged weights or the last ones.')


def main(argv: list[str]) -> None:
  """Prints the comparison table."""
  del argv
  runs = [run for run in _RUNS.value or [] if run]
  if len(runs) < 2:
    raise UserError(f'--runs={",".join(runs)}: name at least two, as in --runs=runs/a,runs/b')
  evaluations = [compare_runs.read_evaluation(run, _SPLIT.value) for run in runs]
  print('\n'.join(compare_runs.comparison_table(evaluations, _WEIGHTS.value)))


if __name__ == '__main__':
  command_line.run_script(main)
