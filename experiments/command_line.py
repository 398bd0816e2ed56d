"""Starts and ends every script: flags, help that fits a screen, one line for an error, exit codes."""

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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import app, flags, logging

from gan_jax.config.run_config import Config
from gan_jax.data import reader
from gan_jax.distributed import device_memory
from gan_jax.utils.errors import AllProcessesError, DivergedError, UserError

from . import exit_codes

_PRESETS = Path(__file__).parent / 'presets'
_UNWRITABLE = {
  *(errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR),
  *(errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG),
}
_RARE: list[str] = []  # flags that only --helpfull lists
Main = Callable[[list[str]], int | None]


def run_script(main: Main) -> NoReturn:
  """Parses the flags, calls `main` with the other arguments, and exits with an exit code.

  The code is 0 or what `main` returns; 2 for a user's error, 3 for a value that is not finite, 130 for Ctrl-C.
  """
  asked = set(sys.argv[1:])
  if asked & {'--help', '-h', '-help', '--helpshort', '--helpfull'}:
    with _one_line_errors():
      print(help_text(everything='--helpfull' in asked), flush=True)
    sys.exit(0)
  app.run(functools.partial(_run_main, main), flags_parser=_parse)
  raise AssertionError('app.run does not return')


def _parse(argv: list[str]) -> list[str]:
  with _one_line_errors():
    try:
      return flags.FLAGS([_find_preset(argument) for argument in argv])
    except flags.CantOpenFlagFileError as error:
      presets = sorted(path.stem for path in _PRESETS.glob('*.flags'))
      reason = str(error).removeprefix('ERROR:: ')
      raise UserError(f'--flagfile: {reason}; presets are {", ".join(presets)}') from error
    except flags.Error as error:
      raise UserError(f'{error}; --help lists the flags') from error


def _find_preset(argument: str) -> str:
  """Replaces --flagfile=NAME by the preset of that name where there is no such file."""
  flag, _, value = argument.partition('=')
  path = _PRESETS / f'{Path(value).stem}.flags'
  if flag.lstrip('-') == 'flagfile' and not Path(value).exists() and path.exists():
    return f'--flagfile={path}'
  return argument


def _run_main(main: Main, argv: list[str]) -> int:
  # Errors of libraries come as exceptions; their log lines are noise. Once one read or write of a checkpoint
  # has failed, the coroutines beside it warn that they were never awaited.
  logging.set_verbosity(logging.FATAL)
  sys.unraisablehook = lambda unraisable: None
  warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)
  if not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    jax.config.update('jax_compilation_cache_dir', str(cache_dir() / 'compiled'))
  # Memory of a GPU is taken when it is needed: by default the first of several jobs would hold most of it.
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)
  with _one_line_errors():
    if len(argv) > 1:
      raise UserError(f'unexpected arguments: {" ".join(argv[1:])}; flags are written --name=value')
    return main(argv) or 0


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
  """Turns an error that a user can mend into one line on stderr and an exit code."""
  try:
    yield
  except UserError as error:
    _exit(exit_codes.EXIT_USER_ERROR, str(error))
  except DivergedError as error:
    _exit(exit_codes.EXIT_DIVERGED, str(error))
  except KeyboardInterrupt:
    _exit(exit_codes.EXIT_INTERRUPTED, 'interrupted')
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(exit_codes.EXIT_BROKEN_PIPE)
  except MemoryError:
    _exit(
      exit_codes.EXIT_USER_ERROR,
      'out of memory: lower --batch_size, --g_width, --d_width or --num_samples',
    )
  except Exception as error:
    line = _system_limit(error)
    if line is None:
      raise
    _exit(exit_codes.EXIT_USER_ERROR, line)


@contextlib.contextmanager
def exit_at_once_on_error(active: bool) -> Iterator[None]:
  """Ends the process at once where `active` and an error leaves the block, after reporting the error.

  So a failed process does not wait for others while it exits. Errors that all processes raise pass through.
  """
  try:
    yield
  except (AllProcessesError, DivergedError):
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
  """Returns one line for a full disk, an unwritable file or exhausted memory; None for any other error."""
  while error is not None:
    text = str(error)
    code = error.errno if isinstance(error, OSError) else None
    where = getattr(error, 'filename', None)
    if code in (errno.ENOSPC, errno.EDQUOT) or 'No space left on device' in text:
      place = f' ({where})' if where else ''
      return f'the disk is full{place}: free some space, then give the same command again'
    if where and code in _UNWRITABLE:
      return f'{where}: {os.strerror(code).lower()}; choose a place that can be written'
    if device_memory.is_out_of_memory(error):
      return 'out of device memory: lower --batch_size, --k, --g_width or --d_width'
    error = error.__cause__
  return None


def _exit(code: int, message: str) -> NoReturn:
  print(f'error: {" ".join(message.split())}', file=sys.stderr, flush=True)
  sys.exit(code)


def run_directory(given: str | None, dataset: str, suffix: str = '') -> Path:
  """Returns the folder that --run names, by default runs/ and the last part of the data set's name."""
  path = Path(reader.strip_prefix(dataset).removeprefix('tfds:')).resolve()
  return Path(given or f'runs/{path.stem if path.is_file() else path.name}{suffix}')


def cache_dir() -> Path:
  """Returns the user's cache folder, for compiled programs and reference scores."""
  return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'gan_jax'


def shell_command(script: str, *flags_: str) -> str:
  """Returns a command line for a shell that runs the script of this name with these flags."""
  if __package__ != 'experiments':  # installed from a wheel
    return shlex.join(['gan-jax', script, *flags_])
  python = min(os.path.relpath(sys.executable), sys.executable, key=len)
  return shlex.join([python, '-m', f'{__package__}.{script}', *flags_])


def define_seed_flag(text: str) -> flags.FlagHolder[int]:
  """Defines the flag --seed, 0 by default, in the range where no two seeds give the same key."""
  holder = flags.DEFINE_integer('seed', 0, text, lower_bound=0, upper_bound=2**31 - 1)
  flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS['seed'])
  return holder


def define_data_flags() -> tuple[flags.FlagHolder[str], flags.FlagHolder[str]]:
  """Defines the flags --data_dir and --dataset, which say where the data of an existing run are now."""
  script = sys.argv[0]
  data_dir = flags.DEFINE_string(
    'data_dir', '', "Folder of prepared data; by default the run's.", module_name=script
  )
  text = "Where the run's data are now (folder:PATH), if they have moved."
  return data_dir, flags.DEFINE_string('dataset', '', text, module_name=script)


def define_placement_flags(
  stream_choices: Sequence[str],
) -> tuple[flags.FlagHolder[bool], flags.FlagHolder[str]]:
  """Defines the flags --shard_params and --stream, which place weights and training images."""
  script = sys.argv[0]  # --help lists flags of the script in the order of their definition
  shard_params = flags.DEFINE_bool(
    'shard_params', False, 'Shard weights and optimizer states over devices.', module_name=script
  )
  text = 'Stream images from the host; by default large sets.'
  stream = flags.DEFINE_enum('stream', 'auto', stream_choices, text, module_name=script)
  return shard_params, stream


def read_preset(name: str, **changes: Any) -> Config:
  """Returns the Config of the preset of this name with `changes`, as absl would read the file."""
  kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Config)}
  lines = (_PRESETS / f'{name}.flags').read_text().splitlines()
  pairs = (line.removeprefix('--').partition('=') for line in lines if line.startswith('--'))
  parse = lambda kind, text: text in ('', 'true') if kind is bool else kind(text)
  values: dict[str, Any] = {flag: parse(kinds[flag], text) for flag, _, text in pairs}
  return Config(**(values | changes))


def define_config_flags(description: type, brief: bool = True) -> dict[str, flags.FlagHolder[Any]]:
  """Defines a flag for each field of a dataclass whose metadata hold `help` and `choices` (or None).

  --help leaves rare flags to --helpfull, and all flags where not `brief`.
  """
  define: dict[Any, Any] = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer}
  define |= {float: flags.DEFINE_float, str: flags.DEFINE_string}
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


def help_text(everything: bool = False) -> str:
  """Returns the script's docstring and a line for each flag, for rare ones only with `everything`."""
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
  text = flag.help.split(';\n')[0]  # without absl's note on flags that may be repeated
  if isinstance(flag, flags.EnumFlag):  # absl puts the choices in front, as one long word
    choices = ', '.join(filter(None, flag.parser.enum_values))
    text = f'{text.split(">: ", 1)[-1].rstrip(".")}: {choices}.'
  line, indent = f'{name:<31} {text}', ' ' * 32
  return textwrap.fill(line, 100, subsequent_indent=indent, break_long_words=False)
