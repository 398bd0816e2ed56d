"""README and docs/ name what exists: links, anchors, commands, flags, presets, files and modules."""

import ast
import functools
import importlib
import os
import re
import shlex
import subprocess
import sys

import pytest

from experiments import command_line
from gan_jax.config.run_config import Config
from gan_jax.evaluation.feature_networks import FEATURE_NETWORKS
from gan_jax.utils.errors import UserError
from tests.helpers import commands

ROOT = commands.ROOT
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
SETTINGS = Config.__dataclass_fields__
SCRIPTS = {path.stem for path in (ROOT / 'experiments').glob('*.py')} - {'__init__', 'command_line'}
EVERY_SCRIPT = {'help', 'helpfull', 'flagfile'}
REMOVED = {'jobs'}  # of experiments.repeat
pages = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)


def without_fences(text):
  return re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)


def code(text):
  """Fenced lines, continued ones joined and comments cut, and inline code."""
  text = re.sub(r'<!--.*?-->', '', text, flags=re.DOTALL)
  for block in re.findall(r'^```\w*\n(.*?)^```', text, re.MULTILINE | re.DOTALL):
    yield from (line.split(' # ')[0] for line in block.replace('\\\n', ' ').splitlines())
  yield from re.findall(r'`([^`\n]+)`', without_fences(text))


def documented_commands(page):
  """Pairs (script, arguments) of all commands of a page."""
  for line in code(page.read_text()):
    match = re.search(r'(?:python -m experiments\.|gan-jax )([a-z]\w*)(.*)', line)
    if match:
      yield match[1], shlex.split(re.split(r'[|;&>]', match[2])[0])


@functools.cache
def flags_of(script):
  """The flags that a script defines, read from its source."""
  source = (ROOT / 'experiments' / f'{script}.py').read_text()
  names = set(EVERY_SCRIPT)
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
      if node.func.attr.startswith('DEFINE_') and isinstance(node.args[0], ast.Constant):
        names.add(node.args[0].value)
      elif node.func.attr == 'define_seed_flag':
        names.add('seed')
      elif node.func.attr == 'define_placement_flags':
        names |= {'shard_params', 'stream'}
      elif node.func.attr == 'define_config_flags':
        names |= {*SETTINGS}
  return names | ({*FEATURE_NETWORKS} if 'FEATURE_NETWORKS' in source else set())


def is_flag(name, known):
  return name in known or (name.startswith('no') and name[2:] in known)


def anchors(page):
  """The ids of the headings of a page, as Python-Markdown makes them, and ids that stand in the text."""
  text = without_fences(page.read_text())
  ids = set(re.findall(r'(?:\{ ?#|id=")([\w-]+)', text))
  for heading in re.findall(r'^#+ (.*)$', text, re.MULTILINE):
    plain = re.sub(r'[^\w\s-]', '', re.sub(r'\{.*\}|\]\([^)]*\)', '', heading)).strip().lower()
    ids.add(re.sub(r'[\s-]+', '-', plain))
  return ids


def test_readme_is_short():
  text = (ROOT / 'README.md').read_text()
  assert len(text.splitlines()) <= 150
  assert len(text.split()) <= 900


@pages
def test_links_lead_to_files_and_headings(page):
  text = re.sub(r'`[^`\n]+`', '', without_fences(page.read_text()))
  for target in re.findall(r'\]\(([^)\s]+)\)', text):
    if re.match(r'https?:|mailto:', target):
      continue
    path, _, anchor = target.partition('#')
    linked = (page.parent / path).resolve() if path else page
    assert linked.exists(), target
    if anchor:
      assert anchor in anchors(linked), f'{target}: no such heading'


@pages
def test_commands_name_scripts_and_their_flags(page):
  for script, args in documented_commands(page):
    if script not in ('help', 'repeat'):  # repeat is named as removed
      assert script in SCRIPTS, script
      for arg in args:
        if arg.startswith('--'):
          name = arg[2:].partition('=')[0]
          assert is_flag(name, flags_of(script)), f'{script} has no flag --{name}'


@pages
def test_flags_in_the_text_are_flags_of_some_script(page):
  known = set().union(*map(flags_of, SCRIPTS)) | REMOVED
  for line in code(page.read_text()):
    if not re.search(r'\b(pytest|pip|mkdocs|kubectl|sbatch|ruff|mypy|git|chromium)\b', line):
      for name in re.findall(r'(?:^|\s|\()--([a-z]\w*)', line):
        assert is_flag(name, known) or f'{name}_every' in known, f'--{name} in {line}'


def config_of(args):
  """The Config of a documented command; raises UserError where training would refuse it."""
  values = dict(arg[2:].partition('=')[::2] for arg in args if arg.startswith('--'))
  preset = re.sub(r'.*/|\.flags$', '', values.pop('flagfile', ''))
  changes = {}
  for name, text in values.items():
    if name[2:] in SETTINGS and name.startswith('no'):
      changes[name[2:]] = False
    elif name in SETTINGS:
      kind = SETTINGS[name].type
      changes[name] = text in ('', 'true') if kind is bool else kind(text)
  return command_line.read_preset(preset, **changes) if preset else Config(**changes)


@pages
def test_training_commands_are_accepted(page):
  for script, args in documented_commands(page):
    if script in ('train', 'sweep', 'pod'):
      try:
        config_of(args)
      except UserError as error:
        pytest.fail(f'{script} {shlex.join(args)}: {error}')


@pages
def test_presets_exist(page):
  for text in code(page.read_text()):
    for preset in re.findall(r'PRESET=(\w+)|--flagfile=(?:\S*/)?(\w+)', text):
      name = ''.join(preset)
      assert name.isupper() or (ROOT / f'experiments/presets/{name}.flags').exists(), name


def test_every_preset_and_flag_is_documented():
  text = (ROOT / 'docs/settings.md').read_text()
  for path in (ROOT / 'experiments/presets').glob('*.flags'):
    assert f'`{path.stem}`' in text, path.stem
  for name in SETTINGS:
    listed = re.search(rf'--{name}\b', text) or name.endswith('_every')
    assert listed, f'--{name}'


@pages
def test_make_targets_exist(page):
  targets = set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
  for text in code(page.read_text()):
    for target in re.findall(r'^make ([a-z][\w-]*)', text):
      assert target in targets, text


@pages
def test_files_exist(page):
  for text in code(page.read_text()):
    for path in re.findall(r'(?:^|[\s(])((?:gan_jax|experiments|tests|docs)/[\w./-]*\w/?)', text):
      assert (ROOT / path).exists(), path


@pages
def test_modules_exist(page):
  for text in code(page.read_text()):
    for name in re.findall(r'(?<![\w./])((?:gan_jax|tests)(?:\.[A-Za-z_]\w*)+)', text):
      if name != 'gan_jax.experiments':  # of a wheel
        assert resolves(name), name


def resolves(name):
  """Whether a dotted name is a module, or an attribute of one."""
  parts = name.split('.')
  for n in range(len(parts), 0, -1):
    base = ROOT.joinpath(*parts[:n])
    if base.with_suffix('.py').exists() or (base / '__init__.py').exists():
      found = importlib.import_module('.'.join(parts[:n])) if n < len(parts) else None
      for part in parts[n:]:
        found = getattr(found, part, None)
        if found is None:
          return False
      return True
  return False


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
  command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-q', '-d', tmp_path]
  env = os.environ | {'NO_MKDOCS_2_WARNING': '1'}
  ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
  assert ended.returncode == 0, ended.stderr
  assert (tmp_path / 'index.html').exists()


def test_the_files_of_make_quick_exist():
  listed = subprocess.run(
    ['make', '-n', 'quick'], cwd=ROOT, capture_output=True, text=True, check=True
  )
  paths = re.findall(r'tests/[\w/.]+', listed.stdout)
  assert len(paths) > 15
  assert not [path for path in paths if not (ROOT / path).exists()]
