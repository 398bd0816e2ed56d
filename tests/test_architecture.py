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
    'games/*.py',
    'augmentations/*.py',
    *(
      f'{name}.py'
      for name in (
        'losses',
        'penalties',
        'projections',
        'latents',
        'images',
        'batches',
        'feeds',
        'balance',
        'randomness',
        'optimizers',
        'gan',
        'players',
        'updates',
        'parallel',
        'placement',
        'stretch',
        'population',
        'programs',
        'ranking',
        'scalars',
        'errors',
        'checks',
        'config',
        'compute',
        'grid',
        'report/charts',
        'report/figures',
        'report/tables',
        'alarms',
        'embeddings',
        'signals',
        'duality',
        'own',
        'evidence',
        'referee',
        'rulings',
        'accumulation',
      )
    ),
  )
  for path in ROOT.glob(pattern)
)
# What a pure module may import: mathematics, types, and its own kind.
ALLOWED = {
  *('jax', 'flax', 'optax', 'numpy', 'scipy', 'math', 'statistics', 'fractions', 'itertools', 're'),
  *('functools', 'operator', 'collections', 'typing', 'dataclasses', 'gan_jax'),
}
NEVER_CALLED = {'open', 'print', 'input', 'exec', 'eval'}


def imports(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def test_every_pure_module_is_there():
  assert len(PURE) >= 40
  assert {'updates.py', 'balance.py', 'feeds.py', 'projections.py', 'config.py'} <= set(PURE)


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
  'classifier',
  'inception',
  'feature_networks',
  'comparison',
  'sampling',
  'tasks',
  'sweep',
  'campaign',
  'outcome',
  'page',  # of the report
)


@pytest.mark.parametrize('name', PURE)
def test_pure_modules_import_nothing_from_the_rows_below(name):
  for imported in imports(ROOT / name):
    parts = imported.split('.')
    if parts[0] == 'gan_jax' and len(parts) > 1:
      assert not set(parts[1:3]) & set(IMPURE), f'{name} imports {imported}'


# Rows from the top; what stands in none of them is in the last.
ROWS = (
  (
    'errors',
    'randomness',
    'losses',
    'penalties',
    'projections',
    'optimizers',
    'alarms',
    'programs',
    'ranking',
  ),
  (
    'latents',
    'images',
    'batches',
    'balance',
    'scalars',
    'networks',
    'metrics',
    'games',
    'augmentations',
    'embeddings',
    'accumulation',
    'players',
  ),
  ('feeds', 'gan'),
  ('placement',),
  ('updates', 'parallel', 'population', 'stretch'),
  ('signals', 'duality'),
  ('own', 'evidence'),
  ('referee', 'rulings'),
  ('checks', 'config', 'compute', 'grid'),
  ('report',),
)


@pytest.mark.parametrize('name', PURE)
def test_pure_modules_import_from_their_own_row_and_those_above(name):
  row = {module: i for i, modules in enumerate(ROWS) for module in modules}
  here = row[name.removesuffix('.py').split('/')[0]]
  # At run time: what stands under `if TYPE_CHECKING` is for a reader only.
  for node in ast.parse((ROOT / name).read_text()).body:
    if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == 'gan_jax':
      parts = node.module.split('.')
      modules = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
      for module in modules:
        assert row[module] <= here, f'{name} imports {module}'


@pytest.mark.parametrize('path', sorted(ROOT.rglob('*.py')), ids=lambda p: str(p.relative_to(ROOT)))
def test_flags_live_in_the_scripts_only(path):
  assert not any(
    name.startswith(('absl.flags', 'absl.app', 'experiments')) for name in imports(path)
  )


def test_scripts_import_gan_jax_and_never_one_another():
  scripts = Path(ROOT.parent / 'experiments')
  names = {path.stem for path in scripts.glob('*.py')} - {
    '__init__',
    'launcher',
    'seeds',
    'bench_metrics',
  }
  for path in scripts.glob('*.py'):
    for imported in imports(path):
      parts = imported.split('.')
      assert parts[0] != 'experiments' or parts[-1] not in names, f'{path.name} imports {imported}'
