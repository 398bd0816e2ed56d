import os

import jax
import pytest

from experiments import command_line
from tests.helpers import commands

# Before anything asks for a device: the tests see four, as a small host would.
jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Many tests train the same small game: compile it once. The scripts use the same cache.
jax.config.update('jax_compilation_cache_dir', str(command_line.cache_dir() / 'compiled'))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)


@pytest.fixture(scope='session')
def mnist():
  """The real data, prepared on first use."""
  from gan_jax import data

  return data.load_dataset('mnist', data.default_data_dir())


@pytest.fixture(scope='session')
def env(tmp_path_factory, pytestconfig, mnist):
  """The environment of scripts: few images, and what an earlier session compiled and learned of them."""
  data_dir = tmp_path_factory.mktemp('data')
  commands.write_few_digits(data_dir, mnist)
  cache = pytestconfig.cache.mkdir('scripts')
  return os.environ | {
    'GAN_JAX_DATA_DIR': str(data_dir),
    'XDG_CACHE_HOME': str(cache),
    'JAX_PLATFORMS': 'cpu',
    'GAN_JAX_INCEPTION': 'no',  # a developer's own weights would take an hour
  }


@pytest.fixture(scope='session')
def scripts(env, tmp_path_factory):
  """scripts(name, *args): runs one of them to its end."""
  running = commands.Scripts(tmp_path_factory.mktemp('streams'), env)
  yield running
  running.close()


@pytest.fixture(scope='session')
def trained(env, tmp_path_factory):
  """A run that nothing disturbed; tests that change it take a copy."""
  folder = tmp_path_factory.mktemp('trained') / 'run'
  ended = commands.finish(commands.start('train', *commands.RUN, f'--run={folder}', env=env))
  assert ended.code == 0, ended.err
  assert 'finished: 1000 steps' in ended.out
  return folder


@pytest.fixture(scope='module', autouse=True)
def compiling(request):
  """Most programs of the tests run for less time than they are compiled, so the compiler hurries.

  Where a module asks for equal bits it does not, with `AS_USERS_DO = True`: the code must be what users run.
  """
  hurried = not getattr(request.module, 'AS_USERS_DO', False)
  jax.config.update('jax_disable_most_optimizations', hurried)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture(scope='module', autouse=True)
def forgetting():
  """After a module, what it compiled is dropped: thousands of programs would take gigabytes."""
  yield
  jax.clear_caches()
