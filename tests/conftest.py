import jax
import pytest

# Before anything asks for a device: the tests see four, as a small host would.
jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture(scope='session')
def mnist():
  """The real data, prepared on first use."""
  from gan_jax import data

  return data.load('mnist', data.default_data_dir())
