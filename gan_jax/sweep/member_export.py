"""Writes a member of a group as a run directory, which every script can open."""

import shutil
from pathlib import Path

from gan_jax.sweep.group_trainer import GroupTrainer
from gan_jax.training import checkpoints, metric_writers, run_directory


def export_member(trainer: GroupTrainer, i: int, folder: Path) -> None:
  """Writes the metrics and the last state of member `i` to `folder`, and its best state where one was kept."""
  member, program = trainer.members[i], trainer.program
  if folder.exists():  # left by a process that was killed, perhaps incomplete
    shutil.rmtree(folder)
  run_directory.create_run_directory(folder)
  metrics = metric_writers.MetricWriter(folder, 0)
  for step, values in trainer.metrics.of_member(member.name):
    metrics.write(step, values)
  metrics.close()
  state, best = trainer.state(i), trainer.best_state(i)
  scores = metric_writers.read_scores(folder / 'metrics.jsonl')
  with checkpoints.open_checkpoints(folder / 'checkpoints', 1, scores) as saved:
    if best is not None and best[0] < state.step:
      saved.save(*best)
    saved.save(int(state.step), state)
  task, kind = program.task, program.devices[0].device_kind
  n, n_devices = len(trainer.members), len(program.devices)
  devices = f'a population of {n} ({program.mapping}) on {n_devices} x {kind}'
  run_directory.write_description(folder, member.config, task, devices)
