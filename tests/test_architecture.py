"""Which package may import what, who may touch the world, and how large a file may grow."""

import ast
import re
from pathlib import Path

import pytest

import gan_jax

ROOT = Path(gan_jax.__file__).parent
SCRIPTS = ROOT.parent / 'experiments'
# From the top: a package imports from itself and from those behind it in this list only.
ROOMS = (
  *('sweep', 'training', 'diagnosis', 'evaluation', 'config', 'gan'),
  *('data', 'metrics', 'distributed', 'utils'),
)
MODULES = {
  '.'.join(path.relative_to(ROOT.parent).with_suffix('').parts).removesuffix('.__init__'): path
  for path in sorted(ROOT.rglob('*.py'))
}
# Pure modules: functions of their arguments, without files, clocks, flags and globals.
PURE_ROOMS = ('gan_jax.gan.', 'gan_jax.metrics.', 'gan_jax.data.synthetic', 'gan_jax.config.')
PURE = sorted(
  {
    *('data.shuffle', 'data.device_batches', 'data.image_arrays'),
    *('distributed.pmap', 'distributed.sharding', 'distributed.randomness'),
    *('distributed.hlo_analysis', 'utils.errors'),
    *('diagnosis.alarms', 'diagnosis.training_monitors', 'diagnosis.duality_gap'),
    *(
      'diagnosis.fresh_discriminators',
      'diagnosis.verdict_rules',
      'diagnosis.diagnostic_statistics',
    ),
    *('sweep.member_mapping', 'sweep.compute_budget', 'sweep.search_space', 'sweep.significance'),
    *('training.loop_schedule', 'training.train_spec'),
    *(name.removeprefix('gan_jax.') for name in MODULES if name.startswith(PURE_ROOMS)),
  }
)
IMPORTS_OF_PURE = {
  *('jax', 'flax', 'optax', 'numpy', 'scipy', 'math', 'statistics', 'fractions', 'itertools', 're'),
  'hashlib',
  *('functools', 'operator', 'collections', 'typing', 'dataclasses', 'gan_jax'),
}
NEVER_CALLED = {'open', 'print', 'input', 'exec', 'eval'}


def imported(path):
  """The full names of what a file imports, at any place in it."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f'{node.module or ""}.{alias.name}' for alias in node.names)


def imported_modules(name):
  """The modules of the package that a module imports."""
  for full in imported(MODULES[name]):
    if full.split('.')[0] == 'gan_jax':
      yield full if full in MODULES else full.rpartition('.')[0]


def room(name):
  return name.split('.')[1]


def test_the_package_has_its_rooms_and_nothing_else():
  entries = {path.name for path in ROOT.iterdir() if path.name != '__pycache__'}
  assert entries == {*ROOMS, '__init__.py', 'py.typed'}


@pytest.mark.parametrize('name', [name for name in MODULES if name != 'gan_jax'])
def test_a_module_imports_from_its_own_room_and_those_below(name):
  for other in imported_modules(name):
    assert other != 'gan_jax', f'{name} imports the public names of the package'
    assert ROOMS.index(room(other)) >= ROOMS.index(room(name)), f'{name} imports {other}'


def test_no_module_imports_itself_by_way_of_others():
  graph = {name: {*imported_modules(name)} - {name} for name in MODULES if name != 'gan_jax'}
  while leaves := {name for name, others in graph.items() if not others & graph.keys()}:
    graph = {name: others for name, others in graph.items() if name not in leaves}
  assert not graph, f'circles among {sorted(graph)}'


def test_every_pure_module_is_there():
  assert len(PURE) >= 60
  assert {f'gan_jax.{name}' for name in PURE} <= MODULES.keys()


@pytest.mark.parametrize('name', PURE)
def test_pure_modules_touch_no_file_no_clock_and_no_flag(name):
  for full in imported(MODULES[f'gan_jax.{name}']):
    assert full.split('.')[0] in IMPORTS_OF_PURE, f'{name} imports {full}'
  for node in ast.walk(ast.parse(MODULES[f'gan_jax.{name}'].read_text())):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
      assert node.func.id not in NEVER_CALLED
    assert not isinstance(node, ast.Global)


@pytest.mark.parametrize('name', MODULES)
def test_flags_live_in_the_scripts_only(name):
  for full in imported(MODULES[name]):
    assert not full.startswith(('absl.flags', 'absl.app', 'experiments'))


def test_scripts_do_not_import_one_another():
  shared = {'command_line', 'exit_codes', 'bench_metrics', 'reading_flags'}
  scripts = {path.stem for path in SCRIPTS.glob('*.py')} - shared - {'__init__'}
  for path in SCRIPTS.glob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.ImportFrom) and node.level:
        assert not scripts & {node.module, *(alias.name for alias in node.names)}, path.name


def test_tests_do_not_import_one_another():
  for path in (ROOT.parent / 'tests').rglob('*.py'):
    assert not [x for x in imported(path) if re.search(r'^tests\..*test_', x)], path


@pytest.mark.parametrize('name', MODULES)
def test_no_file_is_too_long_to_read(name):
  assert len(MODULES[name].read_text().splitlines()) <= 350


def public_definitions(path):
  """Public modules, classes, functions and methods with a docstring."""
  tree = ast.parse(path.read_text())
  yield path.stem, ast.get_docstring(tree)
  parents = [
    tree,
    *(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != '_'),
  ]
  for node in (child for parent in parents for child in parent.body):
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != '_':
      yield node.name, ast.get_docstring(node)


@pytest.mark.parametrize('name', MODULES)
def test_public_docstrings_start_with_a_verb(name):
  for what, docstring in public_definitions(MODULES[name]):
    assert docstring, f'{name}: {what} has no docstring'
    first = docstring.split()[0]
    assert re.fullmatch(r'[A-Z][a-z-]*s,?', first), f'{name}: {what} starts with {first!r}'
