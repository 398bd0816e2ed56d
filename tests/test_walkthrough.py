"""Pages of docs/ name definitions at their lines, tests that exist, and error lines that scripts print."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / 'docs').glob('*.md'))
# `name` (`path:line`)
_DEFINITION = re.compile(r'`([A-Za-z_][\w.]*)` \(`([\w/]+\.py):(\d+)`\)')
_TEST = re.compile(r'`(tests/[\w/]+\.py)::(test_\w+)`')


@functools.cache
def definitions(path):
  """The line of every function, class and method of a file by its qualified name."""
  lines = {}

  def visit(node, prefix):
    for child in ast.iter_child_nodes(node):
      if isinstance(child, ast.FunctionDef | ast.ClassDef):
        lines[f'{prefix}{child.name}'] = child.lineno
        visit(child, f'{prefix}{child.name}.')

  visit(ast.parse((ROOT / path).read_text()), '')
  return lines


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_functions_stand_at_the_lines_that_a_page_names(page):
  for name, path, line in _DEFINITION.findall(page.read_text()):
    actual = definitions(path).get(name)
    assert actual == int(line), f'{name} is at {path}:{actual}, not {line}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_the_tests_that_a_page_names_exist(page):
  for path, name in _TEST.findall(page.read_text()):
    assert name in definitions(path), f'{path} has no {name}'


def test_the_walk_from_the_command_to_the_update_is_checked():
  named = {name for name, _, _ in _DEFINITION.findall((ROOT / 'docs/architecture.md').read_text())}
  assert {'main', 'train', '_run_loop', 'Session.advance', 'apply_gradients'} <= named


def printed_texts():
  """All literal parts of strings of the package and the scripts, without comments."""
  for folder in ('gan_jax', 'experiments'):
    for path in sorted((ROOT / folder).rglob('*.py')):
      for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
          yield node.value


def test_error_lines_are_those_of_the_source():
  """In the first column of tables under "line", where `...` stands for names and values."""
  texts = '\n'.join(printed_texts())
  page = (ROOT / 'docs/troubleshooting.md').read_text()
  tables = re.findall(r'^\| line \|.*\n\|[-|]+\n((?:\|.*\n)+)', page, re.MULTILINE)
  lines = [line for table in tables for row in table.splitlines() for line in cells(row)]
  assert len(lines) > 50
  for line in lines:
    parts = [part.strip() for part in line.split('...')]
    assert max(map(len, parts)) > 8, line
    for part in parts:
      assert part in texts, f'{part!r} of {line!r}'


def cells(row):
  """The code in the first cell of a row."""
  return re.findall(r'`([^`]+)`', row.split(' | ')[0])


def correct_lines(text):
  """Returns the text with the present line of each function that it names."""
  return _DEFINITION.sub(lambda m: f'`{m[1]}` (`{m[2]}:{definitions(m[2])[m[1]]}`)', text)


if __name__ == '__main__':
  for page in PAGES:
    text = page.read_text()
    if correct_lines(text) != text:
      page.write_text(correct_lines(text))
