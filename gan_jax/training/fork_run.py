"""Begins a run at a checkpoint of another run, with changed settings: a fork, or fine-tuning on other data."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax.config.run_config import Config
from gan_jax.gan.gan import GanState, Player
from gan_jax.training import checkpoint_integrity, load_run, run_directory
from gan_jax.training.checkpoints import Checkpoints
from gan_jax.training.load_run import LoadedRun
from gan_jax.utils.errors import UserError

_NETWORK_SETTINGS = ('network', 'width', 'depth', 'norm', 'latent_size', 'conditional')
_OPTIMIZER_SETTINGS = ('optimizer', 'update')


class ForkSource(NamedTuple):
  """Names the checkpoint from which a run begins: 'last', 'best' or a step of the run in `folder`."""

  folder: Path
  checkpoint: str = 'last'


class OpenedSource(NamedTuple):
  """Holds a checkpoint from which a run begins, and its record for config.json."""

  run: LoadedRun
  record: dict[str, Any]  # 'run' (absolute path), 'step', 'sha256'


def fork_config(source: ForkSource, folder: Path, changes: Mapping[str, Any]) -> Config:
  """Returns the settings of the fork in `folder`: those of its source, replaced by `changes`.

  A fork that was begun before keeps its own settings, whatever became of its source. Raises UserError where
  there is no source, or where the run in `folder` was not begun from it.
  """
  if (folder / 'config.json').exists():
    _check_same_source(source, folder)
    return dataclasses.replace(run_directory.read_config(folder), **changes)
  with _errors_name_the_source():
    return dataclasses.replace(run_directory.read_config(source.folder), **changes)


def _check_same_source(source: ForkSource, folder: Path) -> None:
  """Raises UserError where the run in `folder` was not begun from `source`."""
  record = run_directory.read_fork(folder)
  if record is None:
    raise UserError(
      f'--from={source.folder}: the run in {folder} was begun without it; leave it out, or give another --run'
    )
  same_step = source.checkpoint in ('last', 'best', str(record['step']))
  if record['run'] != str(source.folder.resolve()) or not same_step:
    raise UserError(
      f'--from={source.folder} --from_checkpoint={source.checkpoint}: the run in {folder} was begun from '
      f'{record["run"]} at step {record["step"]}; give these, or another --run'
    )


def open_source(source: ForkSource | None, folder: Path, config: Config) -> OpenedSource | None:
  """Loads the checkpoint from which the run in `folder` begins; None for a run that begins anew.

  A source that config.json of `folder` records precedes `source`. Raises UserError where the checkpoint is
  missing, damaged, not the recorded one, or not before step `config.steps`.
  """
  record = run_directory.read_fork(folder)
  if record is not None:
    source = ForkSource(Path(record['run']), str(record['step']))
  if source is None:
    return None
  with _errors_name_the_source():
    run = load_run.load_run(source.folder, source.checkpoint)
    digest = checkpoint_integrity.checkpoint_digest(source.folder, run.step)
  opened = {'run': str(source.folder.resolve()), 'step': run.step, 'sha256': digest}
  if record not in (None, opened):
    raise UserError(
      f'--from={source.folder}: its checkpoint at step {run.step} is another than the one from which '
      f'{folder} was begun; give another --run to start from it'
    )
  if run.step >= config.steps:
    raise UserError(
      f'--steps={config.steps}: {source.folder} is at step {run.step} already, and a fork counts on from '
      f'there; give more, such as --steps={2 * run.step}'
    )
  return OpenedSource(run, opened)


def check_shape(source: OpenedSource, name: str, shape: tuple[int, ...]) -> None:
  """Raises UserError where examples of the data set `name` have another `shape` than those of the source."""
  if source.run.shape != tuple(shape):
    of = lambda shape: 'x'.join(map(str, shape))
    raise UserError(
      f'--dataset={name}: its examples are {of(shape)}, and those of --from={source.record["run"]} '
      f'{of(source.run.shape)}; give data of that shape (images: --image_size), or start without --from'
    )


def begin_fork(
  config: Config, source: OpenedSource, saved: Checkpoints, initial: GanState
) -> list[str]:
  """Writes the first checkpoint of a fork; returns a line for the source and for each part that starts anew.

  Args:
    config: the settings of the fork.
    source: the checkpoint from which it begins.
    saved: its own checkpoints.
    initial: its state before the first update, as a run without source has it, on the devices of the run.
  """
  state, lines = transfer_state(source.run.state, initial, source.run.config, config)
  saved.save(source.run.step, jax.tree.map(_place_like, state, initial))
  saved.wait()
  return [f'begun from {source.record["run"]} at step {source.run.step}', *lines]


def _place_like(x: jax.Array, like: jax.Array) -> jax.Array:
  """Returns `x`, which every process holds, laid out over devices as `like`."""
  if x is like:
    return x
  host = np.asarray(x)
  return jax.make_array_from_callback(host.shape, like.sharding, lambda index: host[index])


def transfer_state(
  old: GanState, initial: GanState, old_config: Config, config: Config
) -> tuple[GanState, list[str]]:
  """Returns the state of a fork at its first step, and a line for each part that starts anew.

  The step, both counts of updates and all that has equal shapes comes from `old`: each player's weights, its
  optimizer's state, the averaged weights, the states of controllers. The rest comes from `initial`, the
  state of a run with `config` before its first update.
  """
  lines: list[str] = []
  changed = lambda player, names: _changed_settings(old_config, config, player, names)

  def transfer_player(player: str, source: Player, new: Player) -> Player:
    new = new.replace(count=source.count)  # says which minibatch comes next
    if not _same_shapes(source.weights, new.weights):
      lines.append(f'{player}: starts anew{changed(player, _NETWORK_SETTINGS)}')
      return new
    new = new.replace(params=source.params, stats=source.stats)
    reason = changed(player, _OPTIMIZER_SETTINGS)
    if reason or not _same_shapes(source.opt_state, new.opt_state):
      lines.append(f"{player}'s optimizer: starts anew{reason}")
      return new
    return new.replace(opt_state=source.opt_state)

  g, d = transfer_player('g', old.g, initial.g), transfer_player('d', old.d, initial.d)
  g_ema = old.g_ema if _same_shapes(old.g_ema, initial.g_ema) else initial.g_ema
  controls = dict(initial.controls)
  for name in sorted({*old.controls, *controls}):
    kept = name in old.controls and name in controls
    if kept and _same_shapes(old.controls[name], controls[name]):
      controls[name] = old.controls[name]
    else:
      end = 'starts anew' if name in controls else 'ends, since no setting uses it'
      lines.append(f'controller of {name}: {end}')
  return GanState(old.step, g, d, g_ema, controls), lines


def _same_shapes(a: Any, b: Any) -> bool:
  """Returns whether two trees have the same structure, and their arrays the same shapes and types."""
  shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  return bool(shapes(a) == shapes(b))


def _changed_settings(old: Config, new: Config, player: str, names: tuple[str, ...]) -> str:
  """Returns the differences between the settings of a player that are among `names`, as the end of a line."""
  fields = [name if hasattr(new, name) else f'{player}_{name}' for name in names]
  if player == 'd':
    fields = [name for name in fields if name != 'latent_size']
  pairs = [(name, getattr(new, name), getattr(old, name)) for name in fields]
  text = lambda value: 'the default' if value in (0, '') else value
  changes = ((name, text(now), text(was)) for name, now, was in pairs if now != was)
  return ''.join(f', --{name} is {now} in place of {was}' for name, now, was in changes)


@contextlib.contextmanager
def _errors_name_the_source() -> Iterator[None]:
  """Replaces --run and --checkpoint in a UserError of its block by the flags that name a source."""
  try:
    yield
  except UserError as error:
    line = str(error).replace('--run=', '--from=', 1)
    raise UserError(line.replace('--checkpoint=', '--from_checkpoint=', 1)) from None
