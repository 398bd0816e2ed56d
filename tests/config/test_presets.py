from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments import command_line
from gan_jax.config import gan_factory
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.gan import gan as gan_lib

PRESETS = sorted(Path('experiments/presets').glob('*.flags'))
SHAPES = {
  'mnist': (28, 28, 1),
  'fashion_mnist': (28, 28, 1),
  'stacked_mnist': (28, 28, 3),
  'cifar10': (32, 32, 3),
  'emoji': (32, 32, 3),
}


def read(path):
  return command_line.read_preset(path.stem)


def test_the_documented_presets_exist():
  assert {'mnist', 'mnist_2014', 'ring', 'grid', 'painter', 'images32', 'images64'} <= {
    path.stem for path in PRESETS
  }


@pytest.mark.parametrize('path', PRESETS, ids=lambda path: path.stem)
def test_every_preset_has_a_comment_and_can_be_built(path):
  assert path.read_text().startswith('# ')
  config = read(path)
  if config.dataset.startswith('folder:'):
    shape = (config.image_size, config.image_size, 3)
  else:
    shape = SHAPES.get(config.dataset) or SYNTHETIC[config.dataset].shape
  gan = gan_factory.build_gan(config, shape, 50_000, 10, jnp.full(shape, 0.5))
  state = jax.eval_shape(
    lambda key: gan_lib.init(gan, key, jnp.zeros((1, *shape))), jax.random.key(0)
  )
  assert {leaf.dtype for leaf in jax.tree.leaves(state.g.params)} == {jnp.dtype('float32')}


def test_parameters_of_2014():
  """Counts of G and D on MNIST follow from the released configuration."""
  gan = gan_factory.build_gan(
    read(Path('experiments/presets/mnist_2014.flags')), SHAPES['mnist'], 1
  )
  state = jax.eval_shape(
    lambda key: gan_lib.init(gan, key, jnp.zeros((1, 28, 28, 1))), jax.random.key(0)
  )
  count = lambda player: sum(leaf.size for leaf in jax.tree.leaves(player.params))
  assert (count(state.g), count(state.d)) == (2_503_984, 1_231_441)
