import dataclasses
import json
import shutil
import types

import jax
import numpy as np
import pytest

from gan_jax import data
from gan_jax.evaluation import sampling, tasks
from gan_jax.evaluation.tasks import image_scorer, image_task
from gan_jax.training import (
  checkpoints,
  load_run,
  metric_writers,
  nonfinite,
  run_directory,
  session,
  train,
)
from gan_jax.training.loop_schedule import next_stop
from gan_jax.utils.errors import DivergedError, UserError
from tests.helpers import small_runs
from tests.helpers.small_runs import RING, SMALL, final_state_and_records, run

EVALUATE = image_task.ImageTask.evaluate_checkpoint


@pytest.fixture(autouse=True)
def noise_dataset(monkeypatch):
  return small_runs.use_noise_dataset(monkeypatch)


@pytest.fixture
def figures():
  """Keeps figures and plots enabled in tests that request this fixture."""


@pytest.fixture(autouse=True)
def disable_figures(request, monkeypatch):
  if 'figures' not in request.fixturenames:
    small_runs.disable_figures(monkeypatch)


def test_a_run_writes_its_files(tmp_path, figures):
  outcome = run(tmp_path / 'run')
  assert outcome == train.Outcome(25)
  description = json.loads((tmp_path / 'run/config.json').read_text())
  assert description['flags'] == dataclasses.asdict(SMALL)
  assert description['shape'] == [8, 8, 1]
  assert description['n_classes'] == 3
  assert description['ran_on'][0]['versions']['jax'] == jax.__version__
  assert {'grid', 'grid_raw', 'neighbours', 'interpolation'} == {
    path.stem.rsplit('_', 1)[0] for path in (tmp_path / 'run/samples').glob('*_00000025.png')
  }
  assert (tmp_path / 'run/curves.png').exists()
  assert list((tmp_path / 'run').glob('events.out.tfevents.*'))
  page = (tmp_path / 'run/report.html').read_bytes()
  (tmp_path / 'run/report.html').unlink()
  assert run(tmp_path / 'run').already
  assert (tmp_path / 'run/report.html').read_bytes() == page


def test_checkpoints_keep_the_last_few_and_the_best(tmp_path):
  run(tmp_path, dataclasses.replace(SMALL, steps=60))
  with checkpoints.open_checkpoints(tmp_path / 'checkpoints', 2, {}) as saved:
    assert saved.steps() == [20, 50, 60]
  assert load_run.load_run(tmp_path, 'best').step == 20
  assert load_run.load_run(tmp_path, '50').step == 50
  with pytest.raises(UserError, match='20, 50, 60'):
    load_run.load_run(tmp_path, '30')


def test_old_checkpoints_of_a_killed_process_are_deleted_at_the_next_start(tmp_path):
  config = dataclasses.replace(SMALL, steps=60)
  run(tmp_path, config)
  for step in ('00000010', '00000030'):
    shutil.copytree(tmp_path / 'checkpoints/00000020', tmp_path / 'checkpoints' / step)
  assert run(tmp_path, config).already
  assert sorted(path.name for path in (tmp_path / 'checkpoints').iterdir()) == [
    '00000020', '00000050', '00000060'
  ]  # fmt: skip
  (tmp_path / 'metrics.jsonl').unlink()  # and with it the scores that choose the best checkpoint
  shutil.copytree(tmp_path / 'checkpoints/00000020', tmp_path / 'checkpoints/00000010')
  assert run(tmp_path, config).already
  assert len(list((tmp_path / 'checkpoints').iterdir())) == 4


def test_training_never_sees_validation_or_test_images(tmp_path, noise_dataset):
  """Labels are loaded only for conditional networks, validation images only for k=auto and monitors."""
  unmonitored = dataclasses.replace(SMALL, referee_every=0)
  device_data = lambda config: (
    session.open_session(config, tmp_path, jax.devices()[:1]).pipeline.data
  )
  train_only = device_data(unmonitored)
  np.testing.assert_array_equal(train_only.train.images, noise_dataset.train)
  assert train_only.train.labels is None
  assert train_only.held_out == ()
  monitored = device_data(SMALL).held_out
  np.testing.assert_array_equal(monitored.images, noise_dataset.validation)
  assert monitored.labels is None
  config = dataclasses.replace(SMALL, k='auto', conditional=True)
  conditional = device_data(config)
  np.testing.assert_array_equal(conditional.train.labels, noise_dataset.train_labels)
  np.testing.assert_array_equal(conditional.held_out.images, noise_dataset.validation)


def test_synthetic_data_need_no_data_folder(tmp_path, monkeypatch, figures):
  """A synthetic run is trained, scored exactly, plotted and loaded from its folder alone."""
  monkeypatch.setattr(tasks, 'load_dataset', None)
  run(tmp_path, dataclasses.replace(RING, k='auto'))
  trained = load_run.load_run(tmp_path, 'best')
  assert trained.shape == (2,)
  assert (tmp_path / 'samples' / 'points_00000025.png').exists()
  assert (tmp_path / 'curves.png').exists()
  task = tasks.load_task(trained.config)
  scored = {
    record['step']: record for record in final_state_and_records(tmp_path)[1] if 'score' in record
  }
  assert sorted(scored) == [20, 25]
  assert scored[25]['score'] == -scored[25]['cell_kl_ema']
  report = task.full_report(trained.gan, trained.state, 'test', 0)
  assert report.values['oracle']['ema'] == pytest.approx(
    {name: scored[trained.step][f'{name}_ema'] for name in task.distribution.perfect_scores},
    rel=1e-4,
  )
  for name in task.distribution.perfect_scores:
    assert name in report.text
  json.dumps(report.values)
  latents = sampling.fixed_latents(trained.gan.latent, 0, 1500)
  drawn = sampling.generate_samples(trained.gan, trained.state.g_ema, latents)
  assert (drawn.shape, drawn.dtype) == ((1500, 2), np.float32)


def test_a_run_is_evaluated_on_validation_images(tmp_path, monkeypatch):
  """Replaces the features of the classifier by four pixels."""
  fake = types.SimpleNamespace(
    features=lambda pictures: pictures.reshape(len(pictures), -1)[:, :4].astype(np.float32),
    probabilities=lambda pictures: np.eye(3)[pictures[:, 0, 0, 0] % 3],
    hash='c1a55',
  )
  monkeypatch.setattr(image_task.ImageTask, 'evaluate_checkpoint', EVALUATE)
  monkeypatch.setattr(image_scorer.classifier_lib, 'load_or_train', lambda *args: fake)
  monkeypatch.setattr(sampling, 'N_SAMPLES', 50)
  config = dataclasses.replace(SMALL, steps=1, conditional=True)
  run(tmp_path, config)
  record = next(r for r in final_state_and_records(tmp_path)[1] if 'score' in r)
  names = {f'validation_{x}_{w}' for x in ('parzen', 'frechet') for w in ('raw', 'ema')}
  assert names <= set(record)
  assert record['score'] == -record['validation_frechet_ema']
  trained = load_run.load_run(tmp_path, 'last')
  report = tasks.load_task(config).full_report(trained.gan, trained.state, 'test', 0)
  assert sum(report.values['class_shares']) == pytest.approx(1)
  assert set(report.values['features']) == {'raw', 'ema', 'train', 'fresh'}
  assert report.values['protocol']['features_n'] == 50
  json.dumps(report.values, allow_nan=False)


def test_stops_are_a_function_of_the_step():
  stops, step = [], 0
  while step < SMALL.steps:
    step = next_stop(SMALL, step)
    stops.append(step)
  assert stops == [1, 5, 10, 15, 20, 25]


def test_metrics_after_a_checkpoint_and_a_truncated_line_are_dropped(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"step": 5, "a": 1}\n{"step": 10, "a": 2}\n{"step": 15, "a": 3}\n{"step": 2')
  metrics = metric_writers.MetricWriter(tmp_path, 10)
  metrics.write(15, {'a': 4.0})
  metrics.close()
  assert metric_writers.read_metrics(path) == [
    {'step': 5, 'a': 1},
    {'step': 10, 'a': 2},
    {'step': 15, 'a': 4.0},
  ]


def test_a_value_that_is_not_finite_is_named_with_its_step_and_the_last_checkpoint(tmp_path):
  """A high rate with momentum diverges some steps after the checkpoint at step 10."""
  config = dataclasses.replace(SMALL, d_optimizer='sgd', d_lr=40.0, d_b1=0.9, r1=50.0)
  with pytest.raises(
    DivergedError, match=r'not finite: \S+ at step \d+; the last|no checkpoint'
  ) as error:
    run(tmp_path, config)
  step = int(str(error.value).split('at step ')[1].split(';')[0])
  opened = session.open_session(config, tmp_path, jax.devices()[:1])
  before, _ = opened.advance(opened.initial_state(), 0, step - 1)
  assert nonfinite.first_nonfinite_leaf(before) is None


def test_a_state_that_diverges_in_the_last_step_is_not_saved(tmp_path, monkeypatch):
  """The metrics of a step are computed before its update."""
  monkeypatch.setattr(nonfinite, 'all_finite', lambda state: False)
  with pytest.raises(DivergedError, match='no checkpoint was made before'):
    run(tmp_path)
  with checkpoints.open_checkpoints(tmp_path / 'checkpoints', 2, {}) as saved:
    assert saved.steps() == []


def test_a_run_does_not_resume_with_other_data(tmp_path, monkeypatch, noise_dataset):
  run(tmp_path, dataclasses.replace(SMALL, steps=10))
  changed = noise_dataset._replace(fingerprint='beef')
  monkeypatch.setattr(tasks, 'load_dataset', lambda name, where, **options: changed)
  with pytest.raises(UserError, match='other data'):
    run(tmp_path)


def test_the_first_nonfinite_tensor_is_named():
  tree = {'d': {'kernel': np.ones(3)}, 'e': {'bias': np.array([1.0, np.nan])}}
  assert nonfinite.first_nonfinite_leaf(tree) == 'e/bias'
  assert nonfinite.first_nonfinite_leaf(tree['d']) is None


def test_two_processes_cannot_train_one_run(tmp_path):
  with (
    run_directory.lock_run_directory(tmp_path),
    pytest.raises(UserError, match='another process'),
  ):
    run(tmp_path)


def test_a_run_with_other_flags_is_refused_and_unchanged(tmp_path):
  run(tmp_path, dataclasses.replace(SMALL, steps=1))
  before = (tmp_path / 'config.json').read_bytes()
  with pytest.raises(UserError, match=r'--loss is non_saturating, now saturating; --k is 1, now 2'):
    run(tmp_path, dataclasses.replace(SMALL, k='2', loss='saturating'))
  assert (tmp_path / 'config.json').read_bytes() == before


def test_default_data_dir_follows_the_environment(monkeypatch, tmp_path):
  monkeypatch.setenv('GAN_JAX_DATA_DIR', str(tmp_path))
  assert data.default_data_dir() == tmp_path
