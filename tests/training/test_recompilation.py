"""After its first two calls a run compiles nothing any more, whatever is written between them."""

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
  ours = {**pmap.STEP_MAPS, sharding.SHARDED_PARAMS: pmap.jit_sharded}[mapped]

  def counted(*args):
    call = ours(*args)

    def one(*arguments):
      calls.append(len(compiled))
      return call(*arguments)

    return one

  if mapped == sharding.SHARDED_PARAMS:
    monkeypatch.setattr(pmap, 'jit_sharded', counted)
  else:
    monkeypatch.setitem(pmap.STEP_MAPS, mapped, counted)

  def lowered(event, seconds, **others):
    if event == '/jax/core/compile/jaxpr_to_mlir_module_duration':
      compiled.append(others)

  jax.monitoring.register_event_duration_secs_listener(lowered)
  outcome = train.train(SETTINGS, tmp_path / 'run', jax.devices()[:4], mapped=mapped)
  jax.monitoring.unregister_event_duration_listener(lowered)
  assert outcome.step == 60
  assert len(calls) == 7  # to steps 1, 10, 20, ... 60
  assert calls[2] > calls[0]
  assert calls[2] == calls[-1], compiled[calls[2] :]
