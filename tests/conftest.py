import jax
import pytest

from experiments import launcher

# Before anything asks for a device: the tests see four, as a small host would.
jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Many tests train the same small game: compile it once. The scripts use the same cache.
jax.config.update('jax_compilation_cache_dir', str(launcher.cache_dir() / 'compiled'))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)


@pytest.fixture(scope='session')
def mnist():
  """The real data, prepared on first use."""
  from gan_jax import data

  return data.load('mnist', data.default_data_dir())
