"""Tests that files which users and tools put into a run's folder stay there and do no harm."""

import dataclasses
from pathlib import Path

import pytest

from gan_jax.evaluation import compare_runs
from gan_jax.training import checkpoint_integrity, load_run, report, run_directory
from gan_jax.utils import files
from gan_jax.utils.errors import UserError
from tests.helpers import small_runs
from tests.helpers.small_runs import RING, run

# Of git, macOS, Windows, Jupyter, NFS, rsync, Syncthing, Dropbox, editors and people.
FILES = (
  *('.gitignore', '.DS_Store', '._grid.png', 'Thumbs.db', 'desktop.ini', '.nfs000000000012ab34'),
  *('.config.json.Xy12Zb', '.config.json.123456', '~syncthing~config.json.tmp', '.report.html.swp'),
  *('config (conflicted copy 2026-12-01).json', 'metrics.sync-conflict-20261201-AB12.jsonl'),
  *('README', 'README.md', 'notes.txt', 'my best run.odt', 'grid copy.png', 'report.html~'),
  *('.ipynb_checkpoints/config-checkpoint.json', '.git/HEAD', 'my notes/1.md', '@eaDir/thumb.jpg'),
  *('checksums (1).json', 'evaluation_test_notes.json', '00000010'),
)
PLACES = ('.', 'samples', 'checkpoints', 'checkpoints/00000010', 'checkpoints/00000010/default')
CHECKPOINT_NAMES = ('00000010 copy', '00000010.sync-conflict', 'old', '٣', '1e3', '00000010~')


def put(folder):
  """Puts files beside those of a run; returns their paths."""
  paths = [folder / place / name for place in PLACES for name in FILES if (folder / place).is_dir()]
  paths += [folder / 'checkpoints' / name / 'notes.txt' for name in CHECKPOINT_NAMES]
  paths = [path for path in paths if not path.exists()]
  for path in paths:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'this is {path.name}')
  return paths


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
  small_runs.disable_figures(monkeypatch)


@pytest.fixture
def config():
  return dataclasses.replace(RING, eval_every=10, checkpoint_every=10, referee_every=0, keep=2)


def test_other_files_in_every_folder_of_a_run_stay_and_do_no_harm(tmp_path, config):
  folder = tmp_path / 'run'
  run(folder, dataclasses.replace(config, steps=10))
  (folder / 'samples').mkdir(exist_ok=True)
  paths = put(folder)
  assert len(paths) > 100
  outcome = run(folder, dataclasses.replace(config, steps=20))
  assert (outcome.step, outcome.already) == (20, False)
  assert [path for path in paths if path.read_text() != f'this is {path.name}'] == []
  assert checkpoint_integrity.complete_steps(folder) == {10, 20}
  assert checkpoint_integrity.quarantine_damaged(folder) == []
  assert load_run.load_run(folder, 'last').step == 20
  assert load_run.load_run(folder, '10').step == 10
  report.write_run_page(folder)
  for path in paths:  # a tool takes its files away again
    if path.name.startswith('.'):
      path.unlink()
  assert checkpoint_integrity.quarantine_damaged(folder) == []


def test_a_run_may_begin_in_a_folder_with_notes_and_not_in_one_with_work(tmp_path, config):
  for name in ('.gitignore', 'README.md', 'notes.txt', 'Thumbs.db', '.ipynb_checkpoints/x'):
    path = tmp_path / 'run' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  run(tmp_path / 'run', dataclasses.replace(config, steps=1))
  assert (tmp_path / 'run' / '.gitignore').exists()
  (tmp_path / 'home').mkdir()
  (tmp_path / 'home' / 'thesis.tex').touch()
  with pytest.raises(UserError, match='not empty and holds no run'):
    run(tmp_path / 'home', config)


def test_only_temporary_files_of_this_project_are_removed(tmp_path):
  ours = files.temporary_path(tmp_path / 'config.json')
  others = [tmp_path / name for name in ('.config.json.4711', '.x.gan_jax_tmp', '.nfs01')]
  for path in (ours, *others):
    path.touch()
  (tmp_path / 'samples' / '.grid.png.1.gan_jax_tmp').mkdir(parents=True)  # a folder of this name
  with run_directory.lock_run_directory(tmp_path):
    assert not ours.exists()
  assert all(path.exists() for path in others)


def test_copies_of_an_evaluation_are_no_evaluations(tmp_path):
  for name in ('evaluation_test_notes.json', 'evaluation_test_00000010 (1).json'):
    (tmp_path / name).write_text('no JSON')
  with pytest.raises(UserError, match='has no evaluation on test images'):
    compare_runs.read_evaluation(str(tmp_path), 'test')
  (tmp_path / 'evaluation_test_00000010.json').write_text('{"protocol": {"dataset": "x"}}')
  assert compare_runs.read_evaluation(str(tmp_path), 'test').protocols == {'': {'dataset': 'x'}}


@pytest.mark.parametrize('address', ['gs://bucket/run', 's3://bucket/a/b', 'gs:/bucket/run'])
def test_the_address_of_a_bucket_is_refused_with_the_mend(address, tmp_path, config, monkeypatch):
  monkeypatch.chdir(tmp_path)
  scheme = address.partition(':')[0]
  for use in (lambda: run(Path(address), config), lambda: load_run.load_run(Path(address), 'last')):
    with pytest.raises(
      UserError, match=f'^--run={scheme}://bucket/.*: a run needs a folder; mount'
    ):
      use()
  assert not list(tmp_path.iterdir())
