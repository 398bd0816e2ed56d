"""Diagnoses how a generator fails to fit its data, if so: from a run, or from files of samples.

  python -m experiments.referee --run=runs/mnist
  python -m experiments.referee --real=train.npz --heldout=test.npz --fake=samples.npz

Reads what training reads: folders, .zip, .tar, .npz, .npy and .parquet of images or points. Prints
the verdict on the first line, and the statistics that decided it after it.
"""

import functools
import json
import sys
from pathlib import Path
from typing import Any

from absl import flags

from gan_jax.data import sample_files
from gan_jax.data.reader import ReadOptions
from gan_jax.diagnosis import (
  diagnostic_statistics,
  verdict_formatting,
  verdict_pictures,
  verdict_rules,
)
from gan_jax.metrics import embeddings
from gan_jax.training import diagnose_run, report
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import json_safe, write_atomically

from . import command_line, reading_flags

_RUN = flags.DEFINE_string('run', None, 'Folder of a run; uses its discriminator and metrics too.')
_CHECKPOINT = flags.DEFINE_string(
  'checkpoint', 'last', 'Checkpoint of the run: last, best, or a step.'
)
_WEIGHTS = flags.DEFINE_enum('weights', 'raw', ['raw', 'ema'], 'Weights of G: last or averaged.')
_REAL = flags.DEFINE_string('real', None, 'Training data: a folder, .zip, .tar, .npz or .parquet.')
_HELDOUT = flags.DEFINE_string('heldout', None, 'Held-out data, in the same format.')
_FAKE = flags.DEFINE_string('fake', None, 'Samples, in the same format.')
_JSON = flags.DEFINE_string('json', None, 'File for verdict, statistics and protocol as JSON.')
_PAGE = flags.DEFINE_string('page', None, 'File for the verdict page, as HTML with plots.')
_SPLIT = flags.DEFINE_enum(
  'split', 'validation', ['validation', 'test'], "Held-out data of a run; 'test' for the last word."
)
_OPTIONS = reading_flags.define_reading_flags('background', 'layout', 'kind')
_IMAGE_SIZE = flags.DEFINE_integer(
  'image_size', 0, 'Resize images of files to this many pixels a side.', 0
)
_DATA_DIR, _DATASET = command_line.define_data_flags()
_SEED = flags.DEFINE_integer('seed', 0, "Seed of the probes, and of a run's samples.")


def main(argv: list[str]) -> None:
  """Prints the verdict and writes it to --json and --page."""
  del argv
  given = [holder for holder in (_REAL, _HELDOUT, _FAKE) if holder.value]
  if bool(_RUN.value) == bool(given):
    raise UserError('give either --run=FOLDER, or --heldout=FILE --fake=FILE (and --real=FILE)')
  page = Path(_PAGE.value) if _PAGE.value else None
  if _RUN.value:
    record, text = diagnose_run.diagnose_checkpoint(
      Path(_RUN.value),
      _CHECKPOINT.value,
      _WEIGHTS.value,
      _SEED.value,
      command_line.cache_dir(),
      split=_SPLIT.value,
      data_dir=_DATA_DIR.value,
      dataset=_DATASET.value,
      page=page,
    )
  else:
    files = (_REAL.value, _HELDOUT.value, _FAKE.value)
    options = _OPTIONS()
    record, text = diagnose_sample_files(*files, _SEED.value, options, _IMAGE_SIZE.value, page)
  print(text)
  if _JSON.value:
    write_atomically(Path(_JSON.value), (json.dumps(record, indent=2) + '\n').encode())


def diagnose_sample_files(
  real: str | None,
  heldout: str | None,
  fake: str | None,
  seed: int,
  options: ReadOptions = ReadOptions(),  # noqa: B008
  image_size: int = 0,
  page: Path | None = None,
) -> tuple[dict[str, Any], str]:
  """Returns the verdict on files of samples as JSON and as text, and writes it to `page`; raises UserError."""
  if not heldout or not fake:
    missing = 'heldout' if not heldout else 'fake'
    raise UserError(f'--{missing}: missing; give --heldout=FILE --fake=FILE, and --real=FILE too')
  paths = {'real': real, 'heldout': heldout, 'fake': fake}
  sets = sample_files.load_example_sets(
    {name: path for name, path in paths.items() if path},
    lambda line: print(f'note: {line}', file=sys.stderr),
    options,
    image_size,
  )
  n_needed = diagnostic_statistics.MIN_EXAMPLES
  for name in sets:
    if len(sets[name]) < n_needed:
      raise UserError(
        f'--{name}={paths[name]}: {len(sets[name])} finite examples, of which nothing can be said; '
        f'give at least {n_needed}, better 5,000'
      )
  train, held_out = sets.get('real'), sets['heldout']
  images = held_out.ndim == 4
  fit = functools.partial(embeddings.image_embedding, features=None, name='') if images else None
  reference = diagnostic_statistics.compute_reference_statistics(
    train, held_out, fit or embeddings.point_embedding, seed
  )
  statistics = diagnostic_statistics.compute_diagnostic_statistics(reference, sets['fake'])
  protocol = {
    **paths,
    **{f'n_{name}': n for name, n in statistics.set_sizes.items()},
    'sha256': {name: sample_files.hash_examples(x) for name, x in sets.items()},
    'features': reference.embedding.name,
    'seed': seed,
  }
  verdict = verdict_rules.decide_verdict(statistics)
  record = json_safe(verdict_formatting.verdict_as_json(verdict, statistics, protocol))
  if page is not None:
    report.write_verdict_page(
      page, record, verdict_pictures.draw_verdict_pictures(statistics, seed)
    )
  return record, verdict_formatting.verdict_as_text(verdict, statistics, protocol)


if __name__ == '__main__':
  command_line.run_script(main)
