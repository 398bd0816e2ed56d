"""Say whether a generator is good, and if not, why: of a run, or of anyone's samples.

  python -m experiments.referee --run=runs/mnist
  python -m experiments.referee --real=train.npz --heldout=test.npz --fake=samples.npz

Files hold one array [n, ...] of points, or of images as uint8 [n, h, w, c]; folders hold images.
The first line names the verdict, then comes what decided it.
"""

import json
from pathlib import Path
from typing import Any

from absl import flags

from experiments import command_line
from gan_jax.data import example_files as sets_lib
from gan_jax.diagnosis import diagnostic_statistics, probes, verdict_formatting, verdict_rules
from gan_jax.metrics import embeddings
from gan_jax.training import diagnose_run, report
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import json_safe, write_atomically

_RUN = flags.DEFINE_string('run', None, 'Folder of a run, whose D and history are asked too.')
_CHECKPOINT = flags.DEFINE_string('checkpoint', 'last', 'Of the run: last, best, or a step.')
_WEIGHTS = flags.DEFINE_enum('weights', 'raw', ['raw', 'ema'], "The run's last or averaged G.")
_REAL = flags.DEFINE_string('real', None, 'Training data: an .npz, .npy or folder of images.')
_HELDOUT = flags.DEFINE_string('heldout', None, 'Data that training never saw, the same way.')
_FAKE = flags.DEFINE_string('fake', None, 'Samples, the same way.')
_JSON = flags.DEFINE_string('json', None, 'Write verdict, evidence and protocol here too.')
_PAGE = flags.DEFINE_string(
  'page', None, 'Write them as a page with plots here (a run has its report.html).'
)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the probes, and of what a run samples.')


def main(argv: list[str]) -> None:
  """Gather evidence, print the verdict."""
  del argv
  given = [holder for holder in (_REAL, _HELDOUT, _FAKE) if holder.value]
  if bool(_RUN.value) == bool(given):
    raise UserError('give either --run=FOLDER, or --heldout=FILE --fake=FILE (and --real=FILE)')
  if _RUN.value:
    record, text = diagnose_run.diagnose_checkpoint(
      Path(_RUN.value), _CHECKPOINT.value, _WEIGHTS.value, _SEED.value, command_line.cache_dir()
    )
  else:
    record, text = diagnose_sample_files(_REAL.value, _HELDOUT.value, _FAKE.value, _SEED.value)
  print(text)
  if _JSON.value:
    write_atomically(Path(_JSON.value), (json.dumps(record, indent=2) + '\n').encode())
  if _PAGE.value:
    report.write_verdict_page(Path(_PAGE.value), record)


def diagnose_sample_files(
  real: str | None, heldout: str | None, fake: str | None, seed: int
) -> tuple[dict[str, Any], str]:
  """The verdict on samples of anyone's generator, as a record and as text; raises UserError."""
  if not heldout or not fake:
    missing = 'heldout' if not heldout else 'fake'
    raise UserError(f'--{missing}: missing; give --heldout=FILE --fake=FILE, and --real=FILE too')
  given = {'real': real, 'heldout': heldout, 'fake': fake}
  sets = sets_lib.load_example_sets({name: path for name, path in given.items() if path})
  for name in ('heldout', 'fake'):
    if len(sets[name]) < probes.MIN_EXAMPLES:
      raise UserError(
        f'--{name}={given[name]}: {len(sets[name])} examples; a probe needs {probes.MIN_EXAMPLES}, '
        f'and a verdict {verdict_rules.MIN_EXAMPLES}'
      )
  train, held_out, made = sets.get('real'), sets['heldout'], sets['fake']
  data = held_out if train is None else train
  images = held_out.ndim == 4
  embedding = (
    embeddings.image_embedding(data, None, '') if images else embeddings.point_embedding(data)
  )
  found = diagnostic_statistics.compute_diagnostic_statistics(
    diagnostic_statistics.compute_reference_statistics(train, held_out, embedding, seed), made
  )
  protocol = {
    'real': real,
    'heldout': heldout,
    'fake': fake,
    **{f'n_{name}': n for name, n in found.n.items()},
    'sha256': {name: sets_lib.hash_examples(x) for name, x in sets.items()},
    'features': embedding.name,
    'seed': seed,
  }
  verdict = verdict_rules.decide_verdict(found)
  record = json_safe(verdict_formatting.verdict_as_json(verdict, found, protocol))
  return record, verdict_formatting.verdict_as_text(verdict, found, protocol)


if __name__ == '__main__':
  command_line.run_script(main)
