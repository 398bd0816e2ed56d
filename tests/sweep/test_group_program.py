import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from gan_jax.config.run_config import Config
from gan_jax.distributed import device_memory
from gan_jax.evaluation.tasks import load_task
from gan_jax.sweep import equal_compute, group_program, halving_scheduler
from gan_jax.sweep.group_program import Member
from gan_jax.sweep.group_trainer import GroupTrainer
from gan_jax.sweep.progress_table import SweepCallback
from gan_jax.training import load_run, metric_writers, train
from gan_jax.training.run_directory import RunLockedError
from gan_jax.utils.errors import UserError

COMPILE_OPTIMIZED = True  # compares bits of the programs that users run

BASE = Config(
  dataset='ring', network='relu', g_width=8, d_width=8, latent='normal', latent_size=2,
  batch_size=16, r1=0.1, g_schedule='cosine', steps=24, log_every=6, eval_every=12,
  checkpoint_every=12, referee_every=0,
)  # fmt: skip
CHANGES = (
  {'k': '0.5'},
  {'k': '2', 'seed': 3, 'g_lr': 1e-3, 'd_b1': 0.9},
  {'k': '2.5', 'r1': 1.0, 'ema_decay': 0.9, 'steps': 17},
  {'k': '3', 'g_b2': 0.9, 'steps': 12},
)
HALF_WAY = 12


def members_of(changes, base=BASE):
  return [Member(f'm{i}', dataclasses.replace(base, **change)) for i, change in enumerate(changes)]


@pytest.fixture(scope='module')
def task():
  return load_task(BASE, None)


def program_of(members, task, n_devices=2, **options):
  options = {'mapping': 'map', **options}
  return group_program.compile_group_program(members, task, jax.devices()[:n_devices], **options)


@pytest.fixture(scope='module')
def program(task):
  return program_of(members_of(CHANGES), task)


def finish(folder, members, program, until=10**6):
  with GroupTrainer(folder, members, program, SweepCallback()) as trainer:
    trainer.train(until)
    return (
      [trainer.state(i) for i in range(len(members))],
      trainer.results(),
      trainer.metrics.records,
    )


def equal(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


def clockless(records):
  return [{k: v for k, v in r.items() if k != 'steps_per_second'} for r in records]


@pytest.fixture(scope='module')
def unbroken(program, tmp_path_factory):
  return finish(tmp_path_factory.mktemp('unbroken'), members_of(CHANGES), program)


@pytest.mark.parametrize(
  'changes',
  [
    CHANGES,
    ({}, {'seed': 1, 'd_lr': 1e-3}),
    ({'k': 'auto', 'seed': 5}, {'k': 'auto', 'k_target': 0.1}),
  ],
  ids=['fixed', 'one', 'auto'],
)
def test_a_member_is_its_solo_run_bit_for_bit(changes, tmp_path, task):
  members = members_of(changes)
  program = program_of(members, task)
  with GroupTrainer(tmp_path / 'group', members, program, SweepCallback()) as trainer:
    trainer.train(10**6)
    for i, member in enumerate(members):
      halving_scheduler.export_member(trainer, i, tmp_path / member.name)
  for member in members:
    solo = tmp_path / f'{member.name}_solo'
    train.train(member.config, solo, jax.devices()[:1])
    one, other = (load_run.load_run(x, 'last') for x in (solo, tmp_path / member.name))
    assert one.step == other.step == member.config.steps
    equal(one.state, other.state)
    records = [
      metric_writers.read_metrics(x / 'metrics.jsonl') for x in (solo, tmp_path / member.name)
    ]
    assert clockless(records[0]) == clockless(records[1])


def test_members_of_one_program_share_it_and_others_do_not(task):
  members = members_of(
    ({'k': '1'}, {'k': '2'}, {'k': '5'}, {'k': 'auto'}, {'r1': 0.0}, {'g_lr': 1.0})
  )
  names = [[m.name for m in group] for group in group_program.group_by_program(members, 'map')]
  assert names == [['m0', 'm5'], ['m1', 'm2'], ['m3'], ['m4']]
  # At once all would pay for the largest k.
  for mapping in ('vmap', 'measure'):
    names = [[m.name for m in group] for group in group_program.group_by_program(members, mapping)]
    assert names == [['m0', 'm5'], ['m1'], ['m2'], ['m3'], ['m4']]


def test_members_that_take_turns_are_those_of_one_call_bit_for_bit(task, tmp_path):
  members = members_of(({'k': '2'}, {'k': '3', 'seed': 1, 'g_lr': 1e-3}, {'k': '2', 'steps': 4}))
  one, other = (
    finish(tmp_path / mapping, members, program_of(members, task, mapping=mapping), until=6)
    for mapping in ('map', 'turns')
  )
  for ours, theirs in zip(one[0], other[0], strict=True):
    equal(ours, theirs)
  assert clockless(one[2]) == clockless(other[2])


def test_large_networks_take_turns_at_one_device_and_small_ones_share_a_call(task):
  programs = {
    width: program_of(
      members_of(({},), dataclasses.replace(BASE, d_width=width)), task, mapping='size'
    )
    for width in (8, 512)
  }
  assert {width: program.mapping for width, program in programs.items()} == {8: 'map', 512: 'turns'}
  assert len(programs[512].devices) == 1


def test_members_that_take_turns_are_as_many_as_fit(task):
  members = members_of([{'seed': i} for i in range(6)])
  sizes = {
    free: program_of(members, task, mapping='turns', free=free).capacity for free in (32_000, 10**9)
  }
  assert 1 <= sizes[32_000] < 6 == sizes[10**9]
  with pytest.raises(UserError, match='not even one member fits'):
    program_of(members, task, mapping='turns', free=1000)


def test_members_under_vmap_stay_near_their_solo_runs(task, tmp_path):
  """Within 1e-5 after 6 steps: what rounding solo does to weights of about 1."""
  members = members_of(({'k': '2'}, {'k': '2', 'seed': 1, 'g_lr': 1e-3}))
  found = [
    finish(tmp_path / mapping, members, program_of(members, task, mapping=mapping), until=6)[0]
    for mapping in ('map', 'vmap')
  ]
  for one, other in zip(*found, strict=True):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), one.g_ema, other.g_ema)


def test_resumed_equals_unbroken(program, unbroken, tmp_path):
  members = members_of(CHANGES)
  finish(tmp_path, members, program, until=HALF_WAY)
  states, results, records = finish(tmp_path, members, program)
  for one, other in zip(states, unbroken[0], strict=True):
    equal(one, other)
  assert clockless(records) == clockless(unbroken[2])
  assert [r._replace(seconds=0) for r in results] == [r._replace(seconds=0) for r in unbroken[1]]


def test_records_after_the_checkpoint_are_written_again(program, unbroken, tmp_path):
  members = members_of(CHANGES)
  finish(tmp_path, members, program, until=HALF_WAY)
  with (tmp_path / 'metrics.jsonl').open('a') as file:  # as of a process killed later
    file.write(metric_writers.json_line({'member': 'm0', 'at': 18, 'step': 18, 'g_loss': 1.0}))
    file.write('{"member": "m1", "at"')
  assert clockless(finish(tmp_path, members, program)[2]) == clockless(unbroken[2])


def test_a_resumed_group_has_the_states_of_the_best_evaluations(program, unbroken, tmp_path):
  members = members_of(CHANGES)
  half, _, _ = finish(tmp_path / 'half', members, program, until=HALF_WAY)
  for until in (HALF_WAY, 10**6):
    with GroupTrainer(tmp_path / 'best', members, program, SweepCallback(), True) as trainer:
      trainer.train(until)
      best = [trainer.best_state(i) for i in range(len(members))]
      halving_scheduler.export_member(trainer, 0, tmp_path / 'm0')
  scores = {(r['member'], r['step']): r['score'] for r in unbroken[2] if 'score' in r}
  for i, (step, state) in enumerate(best):
    of_member = {s: score for (name, s), score in scores.items() if name == f'm{i}'}
    assert of_member[step] == max(of_member.values())
    equal(state, half[i] if step == HALF_WAY else unbroken[0][i])
  assert {step for step, _ in best} != {24}  # some members are best half-way
  exported = load_run.load_run(tmp_path / 'm0', 'best')
  assert exported.step == best[0][0]
  equal(exported.state, best[0][1])


def test_a_signal_leaves_a_checkpoint_that_resumes_bit_for_bit(program, unbroken, tmp_path):
  members = members_of(CHANGES)
  calls = iter(range(100))
  with GroupTrainer(tmp_path, members, program, SweepCallback()) as trainer:
    trainer.train(10**6, stop=lambda: next(calls) == 2)  # at step 6, where nothing else is saved
    assert trainer.step == 6
  states, _, _ = finish(tmp_path, members, program)
  for one, other in zip(states, unbroken[0], strict=True):
    equal(one, other)


def test_a_group_has_one_writer(program, tmp_path):
  members = members_of(CHANGES)
  with (
    GroupTrainer(tmp_path, members, program, SweepCallback()),
    pytest.raises(RunLockedError),
    GroupTrainer(tmp_path, members, program, SweepCallback()),
  ):
    pass


def test_a_member_that_diverges_ends_early_and_changes_no_other(task, program, unbroken, tmp_path):
  members = members_of((*CHANGES[:3], {'k': '3', 'g_lr': 1e30}))
  states, results, records = finish(tmp_path, members, program)
  assert [r.status for r in results] == ['finished'] * 3 + ['diverged']
  assert results[3].step < 12
  assert math.isnan(results[3].score)
  for one, other in zip(states[:3], unbroken[0][:3], strict=True):
    equal(one, other)
  assert all(math.isfinite(v) for r in records for v in r.values() if isinstance(v, float))


def test_results_count_what_was_done(unbroken):
  for result, k in zip(unbroken[1], (0.5, 2, 2.5, 3), strict=True):
    assert result.step == result.member.config.steps
    assert result.d_updates == math.ceil(k * result.step)


def test_more_members_than_fit_train_in_several_groups(task, unbroken, tmp_path):
  members = members_of(CHANGES)
  needed = device_memory.peak_bytes(program_of(members, task).call)
  small = program_of(members, task, free=int(needed * 0.75 / 0.8))
  assert small.capacity == 2
  with pytest.raises(UserError, match='not even one member fits'):
    program_of(members, task, free=1000)
  schedule = schedule_of(tmp_path, members)._replace(programs=OneProgram(small))
  assert halving_scheduler.train_members(schedule, SweepCallback())
  assert len(list((tmp_path / 'waves').glob('0_*/'))) == 2
  assert [r.score for r in halving_scheduler.read_results(tmp_path, members)] == [
    r.score for r in unbroken[1]
  ]


class OneProgram(dict):
  """A cache that has one program for all keys."""

  def __init__(self, program):
    super().__init__()
    self._program = program

  def __contains__(self, key):
    return True

  def __getitem__(self, key):
    return self._program


def schedule_of(folder, members, halving=0, settings=None):
  return halving_scheduler.Schedule(
    folder,
    members,
    settings or {m.name: m.name for m in members},
    equal_compute.cache_tasks(lambda config: load_task(config, None)),
    jax.devices()[:2],
    'map',
    halving,
    {},
  )


def test_halving_drops_the_worst_and_changes_no_other_member(program, unbroken, tmp_path):
  members = members_of(CHANGES)
  schedule = schedule_of(tmp_path, members, halving=2)._replace(programs=OneProgram(program))
  assert halving_scheduler.train_members(schedule, SweepCallback())
  at_halving = {
    r['member']: r['score'] for r in unbroken[2] if 'score' in r and r['step'] == HALF_WAY
  }
  results = halving_scheduler.read_results(tmp_path, members)
  dropped = {r.member.name for r in results if r.status == 'dropped'}
  assert len(dropped) == 1  # of the three that had not ended there, as m3 had
  kept = set(at_halving) - dropped - {'m3'}
  assert max(at_halving[name] for name in dropped) <= min(at_halving[name] for name in kept)
  for result, full in zip(results, unbroken[1], strict=True):
    if result.status == 'finished':
      assert result.score == full.score
    else:
      assert result.step == HALF_WAY


def test_halving_steps_are_evaluated_steps():
  config = dataclasses.replace(BASE, steps=96)
  assert halving_scheduler.halving_steps(config, 2) == [12, 24, 48]
  assert halving_scheduler.halving_steps(config, 8) == [12]
  assert halving_scheduler.halving_steps(config, 0) == []


def test_survivors_are_the_best_settings_by_the_mean_of_their_seeds():
  settings = {'a0': 'a', 'a1': 'a', 'b0': 'b', 'b1': 'b', 'c0': 'c', 'c1': 'c'}
  scores = {'a0': 1.0, 'a1': 1.0, 'b0': 3.0, 'b1': -9.0, 'c0': 0.5, 'c1': math.nan}
  assert halving_scheduler.best_settings(scores, settings, 2) == {'a', 'c'}
  assert halving_scheduler.best_settings({}, settings, 2)  # at least one


def test_a_setting_with_one_lucky_survivor_does_not_go_on():
  settings = {f'{x}{i}': x for x in 'ab' for i in range(3)}
  scores = {'a0': 10.0, 'a1': math.nan, 'b0': 1.0, 'b1': 2.0, 'b2': 1.0}
  assert halving_scheduler.best_settings(scores, settings, 2) == {'b'}
  assert halving_scheduler.best_settings(scores | {'a1': 9.0}, settings, 2) == {'a'}  # two of three


def test_a_group_that_runs_out_of_memory_is_marked_and_the_others_go_on(
  task, program, unbroken, tmp_path, monkeypatch
):
  small, large = members_of(CHANGES), members_of([{'g_width': 32}, {'g_width': 32, 'g_lr': 1e-3}])
  large = [m._replace(name=f'large{i}') for i, m in enumerate(large)]

  def compile_group_program(members, *args, **options):
    if members[0].config.g_width == 32:
      raise RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes')
    return program

  monkeypatch.setattr(group_program, 'compile_group_program', compile_group_program)
  schedule = schedule_of(tmp_path, [*large, *small], halving=2)._replace(halving=0)
  (tmp_path / 'waves').mkdir()
  (tmp_path / 'waves' / '.DS_Store').touch()
  for _ in range(2):  # the second time reads the reports
    assert halving_scheduler.train_members(schedule, SweepCallback())
    results = halving_scheduler.read_results(tmp_path, [*large, *small])
    assert [r.status for r in results] == ['out of memory'] * 2 + ['finished'] * 4
    assert [r.score for r in results[2:]] == [r.score for r in unbroken[1]]
    assert math.isnan(results[0].score)


def test_the_folder_of_another_sweep_raises(tmp_path):
  describe = lambda seeds, data='a' * 64, **changes: equal_compute.describe_sweep(
    dataclasses.replace(BASE, **changes), data, sweep=['k=1'], seeds=seeds
  )
  new = tmp_path / 'new'
  new.mkdir()
  for name in ('.gitignore', 'README.md'):
    (new / name).touch()
  equal_compute.open_sweep(new, describe(2, dataset='folder:here'))
  for path in ('folder:here', 'folder:here/', 'folder:/moved/there'):
    equal_compute.open_sweep(new, describe(2, dataset=path))
  for other, name in (
    (describe(3, dataset='folder:here'), 'seeds'),
    (describe(2, dataset='folder:here', g_lr=0.5), '--g_lr'),
    (describe(2, dataset='folder:here', data='b' * 64), 'data'),
  ):
    with pytest.raises(UserError, match=rf'another sweep \(other {name}\)'):
      equal_compute.open_sweep(new, other)
  older = describe(2, dataset='folder:here')
  del older['data'], older['flags']['keep']
  (new / 'sweep.json').write_text(json.dumps(older))
  equal_compute.open_sweep(new, describe(2, dataset='folder:here'))
  assert {x.name for x in new.iterdir()} == {'.gitignore', 'README.md', 'sweep.json'}
  (tmp_path / 'file').touch()
  with pytest.raises(UserError, match='holds no sweep'):
    equal_compute.open_sweep(tmp_path, {})


def test_an_exported_member_has_its_devices_and_events(tmp_path, program):
  members = members_of(CHANGES)
  with GroupTrainer(tmp_path / 'group', members, program, SweepCallback()) as trainer:
    trainer.train(1)
    halving_scheduler.export_member(trainer, 0, tmp_path / 'm0')
    (tmp_path / 'm0' / 'config.json').unlink()  # as after a kill in its middle
    (tmp_path / 'm0' / 'notes.txt').write_text('the good one')
    halving_scheduler.export_member(trainer, 0, tmp_path / 'm0')
  described = json.loads((tmp_path / 'm0' / 'config.json').read_text())
  assert 'a population of 4 (map)' in described['ran_on'][0]['devices']
  (events,) = (tmp_path / 'm0').glob('events.*')
  assert b'd_loss' in events.read_bytes()
  assert (tmp_path / 'm0' / 'notes.txt').read_text() == 'the good one'


def test_all_finite_is_false_for_the_member_with_a_nan_only():
  tree = {'a': np.ones((3, 2)), 'b': np.asarray([0.0, np.nan, 1.0]), 'none': np.zeros((3, 0))}
  np.testing.assert_array_equal(group_program._all_finite(tree), [True, False, True])
