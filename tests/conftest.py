import os

import jax
import pytest

from experiments import command_line
from tests.helpers import commands

# Before JAX initializes its devices: four virtual CPU devices.
jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Tests and scripts share a cache of compiled programs, as many train the same small GAN.
jax.config.update('jax_compilation_cache_dir', str(command_line.cache_dir() / 'compiled'))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)


@pytest.fixture(scope='session')
def mnist():
  """Returns MNIST, prepared on first use."""
  from gan_jax import data

  return data.load_dataset('mnist', data.default_data_dir())


@pytest.fixture(scope='session')
def env(tmp_path_factory, pytestconfig, mnist):
  """Returns environment variables for scripts: a few images of MNIST, and a cache kept between sessions."""
  data_dir = tmp_path_factory.mktemp('data')
  commands.write_few_digits(data_dir, mnist)
  cache = pytestconfig.cache.mkdir('scripts')
  return os.environ | {
    'GAN_JAX_DATA_DIR': str(data_dir),
    'XDG_CACHE_HOME': str(cache),
    'JAX_PLATFORMS': 'cpu',
    'GAN_JAX_INCEPTION': 'no',  # evaluations with Inception would take an hour
  }


@pytest.fixture(scope='session')
def scripts(env, tmp_path_factory):
  """Returns a function (name, *args) that runs a script to its end."""
  runner = commands.ScriptRunner(tmp_path_factory.mktemp('streams'), env)
  yield runner
  runner.close()


@pytest.fixture(scope='session')
def trained(env, tmp_path_factory):
  """Returns the folder of an uninterrupted run; tests that change it must copy it."""
  folder = tmp_path_factory.mktemp('trained') / 'run'
  ended = commands.finish(commands.start('train', *commands.RUN, f'--run={folder}', env=env))
  assert ended.code == 0, ended.err
  assert 'finished: 1000 steps' in ended.out
  return folder


@pytest.fixture(scope='module', autouse=True)
def compiler_optimization(request):
  """Disables most optimizations of the compiler, as most programs of tests take longer to compile than to run.

  Modules that compare bits set `COMPILE_OPTIMIZED = True`, to run the programs that users run.
  """
  optimized = getattr(request.module, 'COMPILE_OPTIMIZED', False)
  jax.config.update('jax_disable_most_optimizations', not optimized)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture(scope='module', autouse=True)
def drop_compiled_programs():
  """Drops compiled programs after each module; those of all modules would take gigabytes."""
  yield
  jax.clear_caches()
