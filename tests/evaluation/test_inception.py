import numpy as np
import pytest
import safetensors.numpy

from gan_jax.evaluation import feature_networks, inception
from gan_jax.utils.errors import UserError

CONV = ('params', 'Mixed_5b', 'branch1x1', 'conv', 'kernel')
FEW = {
  CONV: (2, 3, 4, 5),  # h, w, inputs, outputs
  ('params', 'Mixed_5b', 'branch1x1', 'bn', 'scale'): (5,),
  ('batch_stats', 'Mixed_5b', 'branch1x1', 'bn', 'var'): (5,),
  ('params', 'fc', 'kernel'): (4, 3),
  ('params', 'fc', 'bias'): (3,),
}
RNG = np.random.default_rng(0)
TENSORS = {
  'Mixed_5b.branch1x1.conv.weight': RNG.normal(size=(5, 4, 2, 3)).astype(np.float32),
  'Mixed_5b.branch1x1.bn.weight': np.ones(5, np.float32),
  'Mixed_5b.branch1x1.bn.running_var': np.full(5, 2, np.float32),
  'Mixed_5b.branch1x1.bn.num_batches_tracked': np.array(7),
  'fc.weight': RNG.normal(size=(3, 4)).astype(np.float32),
  'fc.bias': np.zeros(3, np.float32),
}


@pytest.fixture
def few(monkeypatch):
  """Replaces the network's variables by a few small ones."""
  monkeypatch.setattr(inception, 'variable_shapes', lambda: FEW)
  inception.load_inception.cache_clear()
  yield
  inception.load_inception.cache_clear()


def write(path, tensors=TENSORS):
  if path.suffix == '.npz':
    np.savez(path, **tensors)
  else:
    safetensors.numpy.save_file(tensors, path)
  return path


def test_variables_have_the_names_of_the_public_checkpoint():
  names = {
    inception.checkpoint_name(path): shape for path, shape in inception.variable_shapes().items()
  }
  assert len(names) == len(inception.variable_shapes()) == 94 * 5 + 2
  assert names['Conv2d_1a_3x3.conv.weight'] == (3, 3, 3, 32)
  assert names['Mixed_6b.branch7x7_2.conv.weight'] == (1, 7, 128, 128)
  assert names['Mixed_7c.branch3x3dbl_3b.bn.running_var'] == (384,)
  assert {'Mixed_7a.branch7x7x3_4.bn.running_mean', 'fc.weight', 'fc.bias'} <= set(names)


def test_a_whole_checkpoint_is_converted():
  zero = np.float32(0)
  turn = lambda shape: (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
  tensors = {
    inception.checkpoint_name(path): np.broadcast_to(zero, turn(shape))
    for path, shape in inception.variable_shapes().items()
  }
  variables = inception.variables_from_checkpoint(tensors, 'here')
  assert variables['params']['fc']['kernel'].shape == (2048, 1008)
  with pytest.raises(
    UserError, match=r'^here: tensor Mixed_7c\.branch1x1\.bn\.running_mean is missing'
  ):
    inception.variables_from_checkpoint(
      {k: v for k, v in tensors.items() if 'Mixed_7c.branch1x1' not in k}, 'here'
    )


def test_kernels_are_transposed_to_flax_layout(few):
  variables = inception.variables_from_checkpoint(TENSORS, 'here')
  kernel = variables['params']['Mixed_5b']['branch1x1']['conv']['kernel']
  assert kernel[1, 2, 3, 4] == TENSORS['Mixed_5b.branch1x1.conv.weight'][4, 3, 1, 2]
  np.testing.assert_array_equal(variables['params']['fc']['kernel'], TENSORS['fc.weight'].T)
  assert variables['batch_stats']['Mixed_5b']['branch1x1']['bn']['var'][0] == 2


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
@pytest.mark.parametrize(
  ('name', 'tensor', 'message'),
  [
    ('fc.bias', None, 'tensor fc.bias is missing'),
    ('AuxLogits.fc.bias', np.zeros(3, np.float32), 'tensor AuxLogits.fc.bias is unknown'),
    ('fc.weight', np.zeros((2, 4), np.float32), 'fc.weight is float32 (2, 4), where'),
    ('fc.weight', np.zeros((3, 4), np.int32), 'fc.weight is int32 (3, 4), where'),
    ('fc.bias', np.full(3, np.nan, np.float32), 'fc.bias holds values that are not finite'),
    (
      'Mixed_5b.branch1x1.conv.weight',
      np.zeros((5, 4, 3, 2), np.float32),
      'conv.weight is float32 (5, 4, 3, 2), where the Inception-v3 of Frechet distances has floats '
      '(5, 4, 2, 3)',
    ),
  ],
)
def test_other_tensors_are_refused_by_name(few, tmp_path, suffix, name, tensor, message):
  tensors = {k: v for k, v in {**TENSORS, name: tensor}.items() if v is not None}
  path = write(tmp_path / f'x{suffix}', tensors)
  with pytest.raises(UserError) as error:
    inception.load_inception(path)
  assert str(error.value).startswith(f'--inception={path}: ')
  assert message in str(error.value)
  assert '\n' not in str(error.value)


def test_the_hash_depends_on_the_weights_and_not_on_the_file(few, tmp_path):
  known = inception.load_inception(write(tmp_path / 'a.npz'))
  assert inception.load_inception(write(tmp_path / 'a.safetensors')).hash == known.hash
  halves = {k: v.astype(np.float64) for k, v in TENSORS.items() if 'tracked' not in k}
  assert inception.load_inception(write(tmp_path / 'b.npz', halves)).hash == known.hash
  other = inception.load_inception(
    write(tmp_path / 'c.npz', TENSORS | {'fc.bias': np.ones(3, np.float32)})
  )
  assert other.hash != known.hash


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('x.pth', b'', 'never read'),
    ('x.pkl', b'', 'never read'),
    ('x.h5', b'', 'give a .safetensors or .npz'),
    ('none.npz', None, 'No such file'),
    ('x.npz', b'PK\x03\x04 and then', 'cannot be read as .npz'),
    ('x.npz', b'', 'cannot be read as .npz'),
    ('x.safetensors', b'\xff' * 20, 'cannot be read as .safetensors'),
    ('x.safetensors', b'', 'cannot be read as .safetensors'),
  ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
  path = tmp_path / name
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(UserError, match=f'^--inception={path}: .*{message}'):
    inception.read_tensors(path)


def test_pickled_arrays_are_never_unpickled(tmp_path):
  class Harm:
    def __reduce__(self):
      return pytest.fail, ('unpickled',)

  np.savez(tmp_path / 'x.npz', **{'fc.bias': np.array([Harm()], dtype=object)})
  with pytest.raises(UserError, match=r'cannot be read as \.npz'):
    inception.read_tensors(tmp_path / 'x.npz')


def test_features_do_not_depend_on_the_batches(monkeypatch):
  sums = lambda variables, images: (
    images.sum(axis=(1, 2, 3), keepdims=True)[:, 0, 0] * np.ones(2048)
  )
  monkeypatch.setattr(inception, '_apply', sums)
  monkeypatch.setattr(inception, '_CHUNK', 4)
  images = RNG.integers(0, 256, (10, 6, 6, 1), np.uint8)
  network = inception.Inception({}, 'f00d')
  expected = images.sum(axis=(1, 2, 3))[:, None] * np.ones(2048)
  np.testing.assert_allclose(network.features(images), expected)
  with pytest.raises(UserError, match='2 channels'):
    network.features(images.reshape(10, 6, 3, 2))


def test_class_probabilities_leave_out_the_biases(few):
  variables = inception.variables_from_checkpoint(
    TENSORS | {'fc.bias': np.full(3, 9, np.float32)}, 'here'
  )
  features = RNG.normal(size=(7, 4)).astype(np.float32)
  powers = np.exp(features @ TENSORS['fc.weight'].T)
  probabilities = inception.Inception(variables, 'f00d').probabilities(features)
  np.testing.assert_allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)


# Weights and the cache of features


def test_weights_are_found_by_flag_then_variable_then_cache(few, tmp_path, monkeypatch):
  monkeypatch.delenv('GAN_JAX_INCEPTION', raising=False)
  find = lambda given: feature_networks.load_feature_network('inception', given, tmp_path)
  assert find('') is None
  (tmp_path / 'weights').mkdir()
  biased = lambda x: TENSORS | {'fc.bias': np.full(3, x, np.float32)}
  write(tmp_path / 'weights/inception.npz', biased(1))
  bias = lambda network: network.variables['params']['fc']['bias'][0]
  assert bias(find('')) == 1
  monkeypatch.setenv('GAN_JAX_INCEPTION', str(write(tmp_path / 'b.safetensors', biased(2))))
  assert bias(find('')) == 2
  assert bias(find(str(write(tmp_path / 'c.npz', biased(3))))) == 3
  assert find('no') is None


class Counting:
  """Counts the calls of `features`."""

  name, hash, title, preparation, calls = 'counting', 'f00d', '', '', 0

  def features(self, images, progress=None):
    self.calls += 1
    return images.reshape(len(images), -1).astype(np.float32)


def test_features_of_equal_images_are_computed_once(tmp_path):
  network, images = Counting(), RNG.integers(0, 256, (5, 2, 2, 1), np.uint8)
  features = lambda x: feature_networks.cached_features(network, x, tmp_path, None)
  first = features(images)
  np.testing.assert_array_equal(features(images), first)
  assert network.calls == 1
  features(images[:4])
  features(images + 1)
  network.hash = 'beef'
  features(images)
  assert network.calls == 4


@pytest.mark.parametrize(
  'damage', [lambda x: x[:-9], lambda x: b'', lambda x: x.replace(b'\x41', b'\x42')]
)
def test_damaged_features_are_computed_again(tmp_path, damage):
  network, images = Counting(), np.full((5, 2, 2, 1), 9, np.uint8)
  features = lambda: feature_networks.cached_features(network, images, tmp_path, None)
  features()
  (path,) = (tmp_path / 'features').iterdir()
  content = path.read_bytes()
  assert damage(content) != content
  path.write_bytes(damage(content))
  np.testing.assert_array_equal(features(), images.reshape(5, 4))
  assert network.calls == 2
