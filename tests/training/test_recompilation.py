"""Tests that a run compiles nothing after its first two calls."""

import jax
import pytest

from gan_jax.config.run_config import Config
from gan_jax.distributed import pmap, sharding
from gan_jax.training import train

SETTINGS = Config(
  dataset='ring', network='relu', g_width=8, d_width=8, g_depth=1, d_depth=1, latent_size=2, batch_size=8,
  steps=60, log_every=10, checkpoint_every=10, eval_every=60, referee_every=0, k='2',
)  # fmt: skip


@pytest.mark.parametrize('mapped', [*pmap.STEP_MAPS, sharding.SHARDED_PARAMS])
def test_nothing_is_compiled_after_two_calls(mapped, tmp_path, monkeypatch):
  calls, compiled = [], []
  step_map = {**pmap.STEP_MAPS, sharding.SHARDED_PARAMS: pmap.jit_sharded}[mapped]

  def counting_map(*args):
    call = step_map(*args)

    def counted_call(*arguments):
      calls.append(len(compiled))
      return call(*arguments)

    return counted_call

  if mapped == sharding.SHARDED_PARAMS:
    monkeypatch.setattr(pmap, 'jit_sharded', counting_map)
  else:
    monkeypatch.setitem(pmap.STEP_MAPS, mapped, counting_map)

  def record_lowering(event, seconds, **others):
    if event == '/jax/core/compile/jaxpr_to_mlir_module_duration':
      compiled.append(others)

  jax.monitoring.register_event_duration_secs_listener(record_lowering)
  outcome = train.train(SETTINGS, tmp_path / 'run', jax.devices()[:4], mapped=mapped)
  jax.monitoring.unregister_event_duration_listener(record_lowering)
  assert outcome.step == 60
  assert len(calls) == 7  # to steps 1, 10, 20, ... 60
  assert calls[2] > calls[0]
  assert calls[2] == calls[-1], compiled[calls[2] :]
