"""How every script starts and ends: flags, help that fits a screen, one line for an error, an exit code."""

import contextlib
import dataclasses
import errno
import functools
import os
import shlex
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import app, flags, logging

from gan_jax.config.config import Config
from gan_jax.utils.errors import AgreedError, DivergedError, UserError

MISTAKE, DIVERGED, INTERRUPTED, PIPE = 2, 3, 130, 141  # exit codes beside 0
ALARMED = 5  # an alarm of --stop_on ended training
_UNWRITABLE = {
  *(errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR),
  *(errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG),
}
_RARE: list[str] = []  # flags that --help leaves to --helpfull
Main = Callable[[list[str]], int | None]


def run(main: Main) -> NoReturn:
  """Parse the flags, call `main`, exit: 0 well, 2 the user's mistake, 3 diverged, 130 Ctrl-C.

  `main` takes the arguments that are no flags, and may return an exit code.
  """
  if {'--help', '-h', '-help', '--helpshort'} & set(sys.argv[1:]):
    print(usage())
    sys.exit(0)
  if '--helpfull' in sys.argv[1:]:
    print(usage(everything=True))
    sys.exit(0)
  app.run(functools.partial(_guarded, main), flags_parser=_parse)
  raise AssertionError('app.run does not return')


def _parse(argv: list[str]) -> list[str]:
  with _one_line_errors():
    try:
      return flags.FLAGS(argv)
    except flags.CantOpenFlagFileError as error:
      presets = sorted(str(path) for path in (Path(__file__).parent / 'presets').glob('*.flags'))
      reason = str(error).removeprefix('ERROR:: ')
      raise UserError(f'--flagfile: {reason}; presets are {", ".join(presets)}') from error
    except flags.Error as error:
      raise UserError(f'{error}; --help lists the flags') from error


def _guarded(main: Main, argv: list[str]) -> int:
  # Libraries' notes are not for the user of a script, and their errors come as exceptions; once one
  # read or write of a checkpoint has failed, those beside it complain that nobody waits for them.
  logging.set_verbosity(logging.FATAL)
  sys.unraisablehook = lambda unraisable: None
  warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)
  if not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    jax.config.update('jax_compilation_cache_dir', str(cache_dir() / 'compiled'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)
  with _one_line_errors():
    if len(argv) > 1:
      raise UserError(f'unexpected arguments: {" ".join(argv[1:])}; flags are written --name=value')
    return main(argv) or 0


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
  """Turn what a user can mend into one line on stderr and an exit code."""
  try:
    yield
  except UserError as error:
    _exit(MISTAKE, str(error))
  except DivergedError as error:
    _exit(DIVERGED, str(error))
  except KeyboardInterrupt:
    _exit(INTERRUPTED, 'interrupted')
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(PIPE)
  except MemoryError:
    _exit(MISTAKE, 'out of memory: lower --batch_size, --g_width, --d_width or --num_samples')
  except Exception as error:
    line = _system_limit(error)
    if line is None:
      raise
    _exit(MISTAKE, line)


@contextlib.contextmanager
def ending_at_once(active: bool) -> Iterator[None]:
  """Where `active`, an error that leaves the block ends the process there and then, told as always.

  So a process that breaks waits for no other on its way out. What all processes raise alike passes.
  """
  try:
    yield
  except (AgreedError, DivergedError):
    raise
  except BaseException as error:
    if not active:
      raise
    code = 1
    try:
      with _one_line_errors():
        raise
    except SystemExit as ended:
      code = int(ended.code or 0)
    except BaseException:
      traceback.print_exception(error)
    sys.stdout.flush()
    os._exit(code)


def _system_limit(error: BaseException | None) -> str | None:
  """One line for a full disk, a file that may not be written or spent memory; None for anything else."""
  while error is not None:
    text = str(error)
    code = error.errno if isinstance(error, OSError) else None
    where = getattr(error, 'filename', None)
    if code in (errno.ENOSPC, errno.EDQUOT) or 'No space left on device' in text:
      place = f' ({where})' if where else ''
      return f'the disk is full{place}: free some space, then give the same command again'
    if where and code in _UNWRITABLE:
      return f'{where}: {os.strerror(code).lower()}; choose a place that can be written'
    if 'RESOURCE_EXHAUSTED' in text or 'Out of memory' in text:
      return 'out of device memory: lower --batch_size, --k, --g_width or --d_width'
    error = error.__cause__
  return None


def _exit(code: int, message: str) -> NoReturn:
  print(f'error: {" ".join(message.split())}', file=sys.stderr, flush=True)
  sys.exit(code)


def run_folder(given: str | None, dataset: str, suffix: str = '') -> Path:
  """The folder that --run names; without it one in runs/, by the last part of the data's name."""
  return Path(given or f'runs/{Path(dataset.removeprefix("folder:")).resolve().name}{suffix}')


def cache_dir() -> Path:
  """The user's cache folder for compiled programs and reference figures."""
  return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'gan_jax'


def command(script: str, *flags_: str) -> str:
  """A line that a person can paste into a shell: this interpreter, a script of ours, its flags."""
  python = os.path.relpath(sys.executable)
  return shlex.join(
    [python if len(python) < len(sys.executable) else sys.executable, '-m', script, *flags_]
  )


def define_seed(text: str) -> flags.FlagHolder[int]:
  """The flag --seed, 0 by default, within the range in which no two seeds are the same."""
  holder = flags.DEFINE_integer('seed', 0, text, lower_bound=0, upper_bound=2**31 - 1)
  flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS['seed'])
  return holder


def preset(name: str, **changes: Any) -> Config:
  """The Config of experiments/presets/NAME.flags with changes, as absl would read it."""
  kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Config)}
  lines = (Path(__file__).parent / 'presets' / f'{name}.flags').read_text().splitlines()
  pairs = (line.removeprefix('--').partition('=') for line in lines if line.startswith('--'))
  values: dict[str, Any] = {
    flag: text in ('', 'true') if kinds[flag] is bool else kinds[flag](text)
    for flag, _, text in pairs
  }
  return Config(**(values | changes))


def define_fields(description: type, brief: bool = True) -> dict[str, flags.FlagHolder[Any]]:
  """A flag for each field of a dataclass whose metadata hold `help` and `choices` (or None).

  Rare ones are left to --helpfull, and where not `brief` all are, since there a preset brings them.
  """
  define: dict[Any, Any] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
  }
  holders = {}
  for field in dataclasses.fields(description):
    text, choices = field.metadata['help'], field.metadata['choices']
    if choices:
      holders[field.name] = flags.DEFINE_enum(field.name, str(field.default), choices, text)
    else:
      holders[field.name] = define[field.type](field.name, field.default, text)
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[field.name])
    if field.metadata.get('rare') or not brief:
      _RARE.append(field.name)
  return holders


def usage(everything: bool = False) -> str:
  """The script's docstring and a line for each of its flags, the rare ones where asked for `everything`."""
  module = sys.modules['__main__']
  lines = [(module.__doc__ or '').strip(), '']
  rare = [] if everything else _RARE
  for flag in flags.FLAGS.get_key_flags_for_module(module):  # in the order of their definition
    if flag.name not in rare:
      lines.append(_flag_line(flag))
  if rare:
    lines.append(f'and {len(rare)} more, by --helpfull')
  return '\n'.join(lines)


def _flag_line(flag: flags.Flag[Any]) -> str:
  name = f'  --{flag.name}={"" if flag.default is None else flag.default}'
  text = flag.help.split(';\n')[0]  # where a flag may come often, absl says so once more
  if isinstance(flag, flags.EnumFlag):  # which have their choices in front, in one long word
    choices = ', '.join(filter(None, flag.parser.enum_values))
    text = f'{text.split(">: ", 1)[-1].rstrip(".")}: {choices}.'
  return textwrap.fill(
    f'{name:<31} {text}', 100, subsequent_indent=' ' * 32, break_long_words=False
  )
