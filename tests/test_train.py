import dataclasses
import json

import jax
import numpy as np
import pytest

from gan_jax import checkpoint, data, diagnose, evaluate, logs, restore, runs, train
from gan_jax.config import Config
from gan_jax.data import Dataset
from gan_jax.errors import DivergedError, UserError
from gan_jax.metrics.parzen import LogLikelihood
from tests.games import assert_equal

SMALL = Config(
  g_width=16, d_width=4, batch_size=8, latent_size=4, steps=25,
  log_every=5, eval_every=20, checkpoint_every=10, keep=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def little_data(monkeypatch):
  """Sixty random images in place of a data set, and an evaluation that costs nothing."""
  pixels = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 1), np.uint8)
  labels = np.arange(120) % 3
  dataset = Dataset(
    'noise',
    pixels[:60],
    pixels[60:90],
    pixels[90:],
    labels[:60],
    labels[60:90],
    labels[90:],
    'f00d',
  )
  monkeypatch.setattr(train, 'load', lambda name, data_dir: dataset)
  score = lambda gan, state, *_: {
    'raw': LogLikelihood(float(state.step), 1.0, 0.1),
    'ema': LogLikelihood(-abs(float(state.step) - 20), 1.0, 0.1),  # the best is step 20
  }
  monkeypatch.setattr(evaluate, 'parzen_scores', score)
  monkeypatch.setattr(
    evaluate, 'references', lambda *_, **__: {'real': LogLikelihood(0.0, 1.0, 0.1)}
  )


def run(folder, config=SMALL, n_devices=1):
  return train.train(config, folder, jax.devices()[:n_devices])


def final(folder):
  trained = restore.open_run(folder, 'last')
  records = logs.read_metrics(folder / 'metrics.jsonl')
  for record in records:
    record.pop('steps_per_second', None)
  return trained.state, records


def test_a_run_leaves_its_files(tmp_path):
  outcome = run(tmp_path / 'run')
  assert outcome == train.Outcome(25)
  description = json.loads((tmp_path / 'run/config.json').read_text())
  assert description['flags'] == dataclasses.asdict(SMALL)
  assert description['ran_on'][0]['versions']['jax'] == jax.__version__
  assert {'grid', 'grid_raw', 'neighbours', 'interpolation'} == {
    path.stem.rsplit('_', 1)[0] for path in (tmp_path / 'run/samples').glob('*_00000025.png')
  }
  assert (tmp_path / 'run/curves.png').exists()
  assert list((tmp_path / 'run').glob('events.out.tfevents.*'))
  assert run(tmp_path / 'run').already


def test_checkpoints_keep_the_last_few_and_the_best(tmp_path):
  run(tmp_path, dataclasses.replace(SMALL, steps=60))
  with checkpoint.opened(tmp_path / 'checkpoints', 2, {}) as saved:
    assert saved.steps() == [20, 50, 60]
  assert restore.open_run(tmp_path, 'best').step == 20
  assert restore.open_run(tmp_path, '50').step == 50
  with pytest.raises(UserError, match='20, 50, 60'):
    restore.open_run(tmp_path, '30')


@pytest.mark.parametrize(
  'changes', [{}, {'k': 3}, {'update': 'simultaneous', 'g_optimizer': 'sgd_2014', 'g_b2': 0.7}]
)
def test_resumed_equals_unbroken_bit_for_bit(tmp_path, changes):
  config = dataclasses.replace(SMALL, d_dropout=True, steps=25, **changes)
  run(tmp_path / 'whole', config)
  for steps in (10, 17, 25):
    run(tmp_path / 'parts', dataclasses.replace(config, steps=steps))
  whole, parts = final(tmp_path / 'whole'), final(tmp_path / 'parts')
  assert_equal(parts[0], whole[0])


def test_same_seed_same_run_and_another_seed_another(tmp_path):
  for name, seed in (('a', 0), ('b', 0), ('c', 1)):
    run(tmp_path / name, dataclasses.replace(SMALL, seed=seed))
  assert_equal(final(tmp_path / 'a')[0], final(tmp_path / 'b')[0])
  assert final(tmp_path / 'a')[1] == final(tmp_path / 'b')[1]
  assert final(tmp_path / 'a')[1] != final(tmp_path / 'c')[1]


def test_a_run_goes_on_on_another_number_of_devices(tmp_path):
  run(tmp_path / 'one')
  run(tmp_path / 'many', dataclasses.replace(SMALL, steps=10), n_devices=4)
  run(tmp_path / 'many', n_devices=2)
  one, many = final(tmp_path / 'one')[0], final(tmp_path / 'many')[0]
  for a, b in zip(jax.tree.leaves(one.g_ema), jax.tree.leaves(many.g_ema), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_training_never_sees_validation_or_test_images(tmp_path, monkeypatch):
  session = train.open_session(SMALL, tmp_path, jax.devices()[:1])
  np.testing.assert_array_equal(session.data, session.dataset.train)


def test_stops_are_a_function_of_the_step():
  stops, step = [], 0
  while step < SMALL.steps:
    step = train.next_stop(SMALL, step)
    stops.append(step)
  assert stops == [1, 5, 10, 15, 20, 25]


def test_metrics_after_a_checkpoint_are_forgotten_and_a_cut_line_is_mended(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"step": 5, "a": 1}\n{"step": 10, "a": 2}\n{"step": 15, "a": 3}\n{"step": 2')
  metrics = logs.Metrics(tmp_path, 10)
  metrics.write(15, {'a': 4.0})
  metrics.close()
  assert logs.read_metrics(path) == [
    {'step': 5, 'a': 1},
    {'step': 10, 'a': 2},
    {'step': 15, 'a': 4.0},
  ]


def test_a_value_that_is_not_finite_is_named_with_its_step_and_the_last_checkpoint(tmp_path):
  """The rate of a huge momentum blows up some steps after the checkpoint at 10."""
  config = dataclasses.replace(SMALL, d_optimizer='sgd', d_lr=40.0, d_b1=0.9, r1=50.0)
  with pytest.raises(
    DivergedError, match=r'not finite: \S+ at step \d+; the last|no checkpoint'
  ) as error:
    run(tmp_path, config)
  step = int(str(error.value).split('at step ')[1].split(';')[0])
  session = train.open_session(config, tmp_path, jax.devices()[:1])
  before, _ = session.stretch(session.key, session.start(), session.data, np.int32(step - 1))
  assert diagnose.first_not_finite(before) is None


def test_a_state_that_breaks_in_the_last_step_is_not_saved(tmp_path, monkeypatch):
  """Its metrics were taken before the update that broke it."""
  monkeypatch.setattr(diagnose, 'all_finite', lambda state: False)
  with pytest.raises(DivergedError, match='no checkpoint was made before'):
    run(tmp_path)
  with checkpoint.opened(tmp_path / 'checkpoints', 2, {}) as saved:
    assert saved.steps() == []


def test_a_run_does_not_go_on_with_other_data(tmp_path, monkeypatch):
  run(tmp_path, dataclasses.replace(SMALL, steps=10))
  changed = train.load('noise', '')._replace(fingerprint='beef')
  monkeypatch.setattr(train, 'load', lambda name, data_dir: changed)
  with pytest.raises(UserError, match='other data'):
    run(tmp_path)


def test_the_first_bad_tensor_has_a_name():
  tree = {'d': {'kernel': np.ones(3)}, 'e': {'bias': np.array([1.0, np.nan])}}
  assert diagnose.first_not_finite(tree) == 'e/bias'
  assert diagnose.first_not_finite(tree['d']) is None


def test_two_processes_cannot_train_one_run(tmp_path):
  with runs.only_writer(tmp_path), pytest.raises(UserError, match='another process'):
    run(tmp_path)


def test_a_run_with_other_flags_is_refused_and_left_alone(tmp_path):
  run(tmp_path)
  before = (tmp_path / 'config.json').read_bytes()
  with pytest.raises(UserError, match=r'--loss is non_saturating, now saturating; --k is 1, now 2'):
    run(tmp_path, dataclasses.replace(SMALL, k=2, loss='saturating'))
  assert (tmp_path / 'config.json').read_bytes() == before


def test_default_data_dir_follows_the_environment(monkeypatch, tmp_path):
  monkeypatch.setenv('GAN_JAX_DATA_DIR', str(tmp_path))
  assert data.default_data_dir() == tmp_path
