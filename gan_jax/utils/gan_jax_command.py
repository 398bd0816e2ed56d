"""Starts the scripts of the project as sub-commands: `gan-jax train` is `python -m experiments.train`."""

import contextlib
import importlib.util
import pkgutil
import runpy
import sys

_NO_COMMANDS = {'command_line', 'exit_codes', 'bench_metrics'}  # modules that other scripts share


def script_package() -> str:
  """Returns the package of the scripts: `gan_jax.experiments` in a wheel, `experiments` in a checkout."""
  inside = 'gan_jax.experiments'
  return inside if importlib.util.find_spec(inside) else 'experiments'


def script_names(package: str) -> list[str]:
  """Returns the names of the sub-commands, sorted."""
  spec = importlib.util.find_spec(package)
  assert spec is not None
  modules = pkgutil.iter_modules(spec.submodule_search_locations)
  return sorted(x.name for x in modules if not x.ispkg and x.name not in _NO_COMMANDS)


def main() -> None:
  """Runs the script that the first argument names, with the other arguments as its flags."""
  package = script_package()
  names = script_names(package)
  if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help', 'help'):
    with contextlib.suppress(BrokenPipeError):
      print('usage: gan-jax COMMAND [--flags]; gan-jax COMMAND --help lists the flags')
      print(', '.join(names), flush=True)
    return
  name = sys.argv.pop(1)
  if name not in names:
    print(f'error: gan-jax {name}: choose one of {", ".join(names)}', file=sys.stderr)
    sys.exit(2)
  runpy.run_module(f'{package}.{name}', run_name='__main__', alter_sys=True)
