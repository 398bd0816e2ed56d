"""Tests the wheel, the source distribution, and the wheel in an environment without the checkout."""

import os
import site
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from tests.helpers.commands import ROOT


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  folder = tmp_path_factory.mktemp('wheel')
  (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=['standard'])
  return path


@pytest.fixture(scope='module')
def run(wheel, tmp_path_factory):
  """Returns a function that runs a program of a new environment: the wheel, and dependencies of this one."""
  folder = tmp_path_factory.mktemp('clean')
  venv.create(folder / 'env', with_pip=False)
  python = folder / 'env' / 'bin' / 'python'
  pip = [
    sys.executable,
    '-m',
    'pip',
    '--python',
    str(python),
    'install',
    '--quiet',
    '--no-deps',
    '--no-index',
  ]
  subprocess.run([*pip, wheel], check=True, capture_output=True)
  # PYTHONPATH ignores .pth files, and so the editable installation of this checkout.
  env = os.environ | {'PYTHONPATH': os.pathsep.join(site.getsitepackages()), 'JAX_PLATFORMS': 'cpu'}

  def call(program, *args):
    command = [str(python.parent / program), *args]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)

  return call


def test_the_wheel_has_one_package_with_scripts_and_presets_inside(wheel):
  names = zipfile.ZipFile(wheel).namelist()
  assert {name.split('/')[0] for name in names if '.dist-info' not in name} == {'gan_jax'}
  assert {
    'gan_jax/experiments/train.py',
    'gan_jax/experiments/presets/ring.flags',
    'gan_jax/py.typed',
  } <= {*names}
  assert {'gan_jax/training/report/page.css', 'gan_jax/training/report/page.html.jinja'} <= {*names}


def test_the_source_distribution_has_sources_and_tests(tmp_path):
  (path,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=['standard'])
  with tarfile.open(path) as archive:
    names = {name.split('/', 1)[1] for name in archive.getnames()}
  assert {
    'pyproject.toml',
    'LICENSE',
    'gan_jax/__init__.py',
    'experiments/train.py',
    'tests/conftest.py',
  } <= names


def test_the_wheel_trains_by_the_gan_jax_command(run, tmp_path):
  imported = run('python', '-c', 'import gan_jax; print(gan_jax.__file__)')
  assert str(ROOT) not in imported.stdout, imported.stderr
  assert run('python', '-c', 'import experiments').returncode == 1
  assert 'train' in run('gan-jax').stdout
  flags = (
    '--g_width=8',
    '--d_width=8',
    '--batch_size=8',
    '--steps=4',
    '--eval_every=4',
    '--log_every=2',
  )
  trained = run('gan-jax', 'train', '--flagfile=ring', *flags, f'--run={tmp_path / "run"}')
  assert trained.returncode == 0, trained.stderr
  assert f'gan-jax evaluate --run={tmp_path / "run"}' in trained.stdout
  assert (tmp_path / 'run' / 'config.json').exists()


def test_the_wheel_reports_a_mistake_in_one_line(run):
  for args in (('trian',), ('train', '--flagfile=rong'), ('train', '--stepz=3')):
    ended = run('gan-jax', *args)
    assert (ended.returncode, ended.stdout) == (2, '')
    assert ended.stderr.startswith('error: ')
    assert len(ended.stderr.splitlines()) == 1
