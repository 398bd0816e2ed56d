"""The public names, each with an example that runs, and the examples of the documentation."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import gan_jax

DOCS = Path(__file__).parents[1] / 'docs'
EXAMPLES = sorted((DOCS / 'examples').glob('*.py'))
PAGE = (DOCS / 'python-api.md').read_text()
# A section of the page: its heading names one public name or several, its code block uses each of them.
SECTIONS = re.findall(r'^### (.+?)\n.*?^```python\n(.*?)^```', PAGE, re.M | re.S)


def test_every_public_name_has_an_example():
  documented = [name for heading, _ in SECTIONS for name in re.findall(r'`(\w+)`', heading)]
  assert sorted(documented) == sorted(gan_jax.__all__)
  for heading, code in SECTIONS:
    for name in re.findall(r'`(\w+)`', heading):
      assert f'gan_jax.{name}' in code, name


def test_the_examples_of_the_public_names_run(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  names = {'__name__': 'example'}
  for _, code in SECTIONS:
    exec(code, names)  # each section goes on with the names of those before it


def test_public_names_are_those_that_type_checkers_see():
  tree = ast.parse(Path(gan_jax.__file__).read_text())
  (block,) = (node for node in tree.body if isinstance(node, ast.If))
  typed = {
    alias.asname: node.module.removeprefix('gan_jax.')
    for node in block.body
    for alias in node.names
    if alias.name == alias.asname
  }
  assert typed == gan_jax._MODULES


def test_the_package_is_cheap_to_import():
  code = 'import sys, gan_jax; assert "jax" not in sys.modules; assert "LOSSES" in dir(gan_jax)'
  subprocess.run([sys.executable, '-c', code], check=True)


def test_an_unknown_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match='no attribute'):
    gan_jax.no_such_name  # noqa: B018


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_an_example_of_the_documentation_runs(path, capsys):
  assert len(path.read_text().splitlines()) <= 40
  runpy.run_path(str(path))
  assert capsys.readouterr().out


def test_there_are_examples_for_networks_losses_data_and_maps():
  assert [path.stem for path in EXAMPLES] == [
    'jit_pmap_vmap',
    'own_data',
    'own_loss',
    'own_networks',
  ]
