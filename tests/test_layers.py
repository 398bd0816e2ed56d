"""The layers of the code: what may import what, and who may touch the world."""

import ast
from pathlib import Path

import pytest

import gan_jax

ROOT = Path(gan_jax.__file__).parent
PURE = sorted(
  str(path.relative_to(ROOT))
  for pattern in (
    'networks/*.py',
    'metrics/*.py',
    *(
      f'{name}.py'
      for name in (
        'losses',
        'penalties',
        'latents',
        'images',
        'batches',
        'randomness',
        'optimizers',
        'gan',
        'parallel',
        'stretch',
      )
    ),
  )
  for path in ROOT.glob(pattern)
)
# What a pure module may import: mathematics, types, and its own kind.
ALLOWED = {'jax', 'flax', 'optax', 'numpy', 'math', 'functools', 'collections', 'typing', 'gan_jax'}
NEVER_CALLED = {'open', 'print', 'input', 'exec', 'eval'}


def imports(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def test_every_pure_module_is_there():
  assert len(PURE) >= 14


@pytest.mark.parametrize('name', PURE)
def test_pure_modules_touch_no_file_no_clock_and_no_flag(name):
  path = ROOT / name
  for imported in imports(path):
    assert imported.split('.')[0] in ALLOWED, f'{name} imports {imported}'
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
      assert node.func.id not in NEVER_CALLED
    assert not isinstance(node, ast.Global)


IMPURE = (
  'data',
  'checkpoint',
  'logs',
  'plots',
  'pictures',
  'runs',
  'restore',
  'train',
  'evaluate',
  'diagnose',
)


@pytest.mark.parametrize('name', PURE)
def test_pure_modules_import_nothing_from_the_rows_below(name):
  for imported in imports(ROOT / name):
    parts = imported.split('.')
    if parts[0] == 'gan_jax' and len(parts) > 1:
      assert parts[1] not in IMPURE, f'{name} imports {imported}'


@pytest.mark.parametrize('path', sorted(ROOT.rglob('*.py')), ids=lambda p: str(p.relative_to(ROOT)))
def test_flags_live_in_the_scripts_only(path):
  assert not any(
    name.startswith(('absl.flags', 'absl.app', 'experiments')) for name in imports(path)
  )


def test_scripts_import_gan_jax_and_never_one_another():
  scripts = Path(ROOT.parent / 'experiments')
  names = {path.stem for path in scripts.glob('*.py')} - {'__init__', 'launcher'}
  for path in scripts.glob('*.py'):
    for imported in imports(path):
      parts = imported.split('.')
      assert parts[0] != 'experiments' or parts[-1] not in names, f'{path.name} imports {imported}'
