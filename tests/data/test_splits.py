import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from gan_jax.data import tfds_decoding
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

SPLITS = ('train', 'validation', 'test')


class OnlyTrain(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Builds fifty flat images, labelled by their brightness, in each of `splits`."""

  VERSION = tfds.core.Version('1.0.0')
  splits = ('train',)

  def _info(self):
    image = tfds.features.Image(shape=(4, 4, 1))
    label = tfds.features.ClassLabel(num_classes=50)
    features = tfds.features.FeaturesDict({'image': image, 'label': label})
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples() for split in self.splits}

  def _generate_examples(self):
    for i in range(50):
      yield i, {'image': PIL.Image.new('L', (4, 4), i), 'label': i}


def decoded(tmp_path):
  builder = OnlyTrain(data_dir=tmp_path)
  builder.download_and_prepare(file_format='array_record')
  path = builder.data_path
  return tfds_decoding.decode_splits('only_train', path, path, tmp_path, Progress())


def test_a_single_training_split_is_divided_in_a_fixed_way(tmp_path):
  arrays = decoded(tmp_path / 'a')
  assert [len(arrays[split]) for split in SPLITS] == [40, 5, 5]
  seen = np.concatenate([arrays[split][:, 0, 0, 0] for split in SPLITS])
  assert sorted(seen) == list(range(50))  # disjoint and complete
  labels = np.concatenate([arrays[f'{split}_labels'] for split in SPLITS])
  np.testing.assert_array_equal(labels, seen)
  again = decoded(tmp_path / 'b')
  np.testing.assert_array_equal(again['test'], arrays['test'])


def test_train_and_validation_without_test_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(OnlyTrain, 'splits', ('train', 'validation'))
  with pytest.raises(UserError, match='no train and test split'):
    decoded(tmp_path)
