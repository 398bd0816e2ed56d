"""Tests which folders and files are splits, classes, shards or labels."""

import json

import numpy as np
import pytest

from tests.helpers.reading import read, refusal, write_tree


def tree(*patterns, n=2, files=None):
  """Returns n images below each pattern, all different while there are at most twelve."""
  names = [f'{pattern}/{i}.png'.removeprefix('/') for pattern in patterns for i in range(n)]
  return {name: i % 12 for i, name in enumerate(names)} | (files or {})


# Files, options, splits, classes by image ('' for none), part of the line.
LAYOUTS = {
  'flat': (tree('', n=4), {}, '', '', ''),
  'one folder': (tree('photos', n=4), {}, '', '', ''),
  'classes': (tree('cat', 'dog'), {}, '', 'cat cat dog dog', '2 classes by folder: cat, dog'),
  'classes of natural order': (
    tree('1', '2', '10'),
    {},
    '',
    '1 1 10 10 2 2',
    '3 classes by folder: 1, 2, 10',
  ),
  'deep classes': (tree('cat/a', 'cat/b', 'dog/a'), {}, '', 'cat cat cat cat dog dog', 'cat, dog'),
  'classes in a wrapper': (tree('set/cat', 'set/dog'), {}, '', 'cat cat dog dog', 'cat, dog'),
  'MNIST digits': (
    tree(*'0123456789', n=1),
    {},
    '',
    '0 1 2 3 4 5 6 7 8 9',
    '10 classes by folder: 0, 1, 2',
  ),
  'years': (tree('2019', '2020'), {}, '', '2019 2019 2020 2020', '2 classes'),
  'none by flag': (tree('cat', 'dog'), {'labels': 'none'}, '', '', ''),
  'beside': (
    tree('cat', 'dog', ''),
    {},
    '',
    '',
    'no labels, since 2 images are beside the subfolders cat, ...',
  ),
  'one class by flag': (
    tree('cat'),
    {'labels': 'folders'},
    '',
    'cat cat',
    '1 classes by folder: cat',
  ),
  'shards': (
    tree('00000', '00001', '00002'),
    {},
    '',
    '',
    '3 folders 00000, 00001, 00002 are shards and no classes',
  ),
  'shards of FFHQ': (tree('00000', '01000', '69000'), {}, '', '', 'are shards and no classes'),
  'named shards': (tree('shard-0', 'shard-1'), {}, '', '', 'are shards and no classes'),
  'shards by flag': (
    tree('00000', '00001'),
    {'labels': 'folders'},
    '',
    '00000 00000 00001 00001',
    '2 classes',
  ),
  'splits': (
    tree('train', 'test'),
    {},
    'test test train train',
    '',
    'splits by folder or file: train 2, test 2',
  ),
  'three splits': (
    tree('train', 'val', 'test'),
    {},
    'test test train train validation validation',
    '',
    'train 2, validation 2, test 2',
  ),
  'splits of classes': (
    tree('train/cat', 'train/dog', 'test/cat', 'test/dog', n=1),
    {},
    'test test train train',
    'cat dog cat dog',
    '2 classes by folder: cat, dog',
  ),
  'splits in other words': (
    tree('Training', 'Valid'),
    {},
    'train train validation validation',
    '',
    'splits',
  ),
  'splits in a wrapper': (tree('set/train', 'set/test'), {}, 'test test train train', '', 'splits'),
  'splits with images/': (
    tree('train/images', 'test/images'),
    {},
    'test test train train',
    '',
    'splits',
  ),
  'splits by flag are put together': (
    tree('train', 'test'),
    {'split_fractions': '1,0,0'},
    '',
    '',
    '--split_fractions puts the splits of the folders or files together',
  ),
  'a train is no split': (
    tree('bus', 'train'),
    {},
    '',
    'bus bus train train',
    '2 classes by folder: bus, train',
  ),
  'only train': (tree('train/cat', 'train/dog'), {}, '', 'cat cat dog dog', '2 classes'),
  'an unlabelled test split': (
    tree('train/cat', 'train/dog', 'test'),
    {},
    'train train train train',
    'cat cat dog dog',
    'test has no folders of classes: its 2 images are left out',
  ),
  'images beside splits': (
    tree('train', 'test', 'extra', ''),
    {},
    'test test train train',
    '',
    '4 beside the folders of splits',
  ),
  'dataset.json without labels': (
    tree('a', 'b', files={'dataset.json': '{"labels": null}'}),
    {},
    '',
    '',
    'dataset.json says that there are no labels',
  ),
  'dataset.json': (
    tree(
      '00000',
      n=3,
      files={
        'dataset.json': json.dumps({'labels': [[f'00000/{i}.png', 1 - i % 2] for i in range(3)]})
      },
    ),
    {},
    '',
    '1 0 1',
    '2 classes by dataset.json: 0, 1',
  ),
  'another dataset.json': (
    tree('a', 'b', files={'dataset.json': '{"name": "mine"}'}),
    {},
    '',
    'a a b b',
    '2 classes by folder',
  ),
  'odd names': (
    tree('ä b', 'c\nd'),
    {},
    '',
    'c\nd|c\nd|ä b|ä b',
    '2 classes by folder: c\\nd, ä b',
  ),
}


@pytest.mark.parametrize('name', LAYOUTS)
def test_folders_are_splits_classes_or_neither(tmp_path, name):
  files, options, splits, classes, told = LAYOUTS[name]
  images = read(write_tree(tmp_path, files), **options)
  given = classes.split('|') if '|' in classes else classes.split()
  actual = [images.class_names[i] for i in images.labels] if images.labels is not None else []
  if name == 'classes of natural order':  # files are read in the order 1, 10, 2
    assert list(images.class_names) == ['1', '2', '10']
  assert actual == given
  assert [split for split in images.splits if split] == splits.split()
  assert told in images.summary.line()
  assert '\n' not in images.summary.line()
  assert images.summary.n_files == len(files)


BAD_LAYOUTS = {
  'no folders': (tree('', n=3), 'there are no subfolders; give --labels=none or move them'),
  'beside': (tree('cat', 'dog', ''), '2 images in no subfolder; give --labels=none or move them'),
}


@pytest.mark.parametrize('name', BAD_LAYOUTS)
def test_folders_that_are_no_classes_are_refused_as_classes(tmp_path, name):
  files, message = BAD_LAYOUTS[name]
  assert message in refusal(write_tree(tmp_path, files), labels='folders')


LABEL_FILES = {
  'a.csv': 'file,label\n0.png,cat\n1.png,dog\n2.png,cat\n',
  'headless.csv': '0.png,cat\n1.png,dog\n2.png,cat\n',
  'other columns.csv': 'width,image,class\n8,0.png,cat\n8,1.png,dog\n8,2.png,cat\n',
  'a.tsv': 'path\tcategory\n0.png\tcat\n1.png\tdog\n2.png\tcat\n',
  'semicolon.csv': '0.png;cat\n1.png;dog\n2.png;cat\n',
  'quoted.csv': '"0.png","cat"\n"1.png","dog"\n"2.png","cat"\n',
  'spaces.txt': '0.png cat\n1.png dog\n2.png cat\n',
  'stems.csv': '0,cat\n1,dog\n2,cat\n',
  'dotted.csv': './0.png,cat\n./1.png,dog\n./2.png,cat\n',
  'bom.csv': '\ufefffile,label\n0.png,cat\n1.png,dog\n2.png,cat\n',
  'more lines.csv': '0.png,cat\n1.png,dog\n2.png,cat\nelsewhere.png,cow\n',
  'a.json': '{"0.png": "cat", "1.png": "dog", "2.png": "cat"}',
  'list.json': '[["0.png", "cat"], ["1.png", "dog"], ["2.png", "cat"]]',
  'stylegan.json': '{"labels": [["0.png", "cat"], ["1.png", "dog"], ["2.png", "cat"]]}',
}


@pytest.mark.parametrize('name', LABEL_FILES)
def test_a_file_of_labels_is_read(tmp_path, name):
  write_tree(tmp_path, {name: LABEL_FILES[name]})
  folder = write_tree(tmp_path / 'images', tree('', n=3))
  images = read(folder, labels=str(tmp_path / name))
  assert images.class_names == ('cat', 'dog')
  np.testing.assert_array_equal(images.labels, [0, 1, 0])
  assert '2 classes by file of labels: cat, dog' in images.summary.line()


BAD_LABEL_FILES = {
  'missing.csv': ('0.png,cat\n1.png,dog\n', '1 of 3 images have no label in --labels='),
  'empty.csv': ('', 'it is empty; give one line for each image'),
  'one column.csv': ('0.png\n1.png\n2.png\n', 'a line has no label; give'),
  'broken.json': ('{"0.png": ', 'it is no valid JSON; give'),
  'vectors.json': (
    '{"0.png": [0, 1]}',
    'the label [0, 1] is no integer and no name; give one class each',
  ),
  'numbers.json': ('[1, 2, 3]', 'it holds no pairs of path and label; give them'),
  'binary.csv': (b'\xff\xfe\x00', 'it is no text; give none, folders'),
  'deep.json': ('[' * 100_000, 'it is no valid JSON; give'),
}


@pytest.mark.parametrize('name', BAD_LABEL_FILES)
def test_a_file_of_labels_that_fits_no_images_is_refused(tmp_path, name):
  content, message = BAD_LABEL_FILES[name]
  write_tree(tmp_path, {name: content})
  folder = write_tree(tmp_path / 'images', tree('', n=3))
  assert message in refusal(folder, labels=str(tmp_path / name))


def test_a_file_of_labels_that_is_not_there_is_refused(tmp_path):
  folder = write_tree(tmp_path, tree('', n=3))
  assert '--labels=nowhere: No such file or directory; give none, folders' in refusal(
    folder, labels='nowhere'
  )


def test_integers_of_a_file_keep_their_names(tmp_path):
  write_tree(tmp_path, {'a.json': json.dumps({'0.png': 10, '1.png': 9, '2.png': 10})})
  images = read(write_tree(tmp_path / 'images', tree('', n=3)), labels=f'{tmp_path}/a.json')
  assert images.class_names == ('9', '10')
  np.testing.assert_array_equal(images.labels, [1, 0, 1])


@pytest.mark.parametrize(
  'fractions',
  ['1', '0.5,0.5', '0.5,0.5,0.5', '-1,1,1', '0,0.5,0.5', 'a,b,c', '0.8,0.1,0.1,0', 'nan,0,1'],
)
def test_fractions_that_do_not_add_up_are_refused(tmp_path, fractions):
  folder = write_tree(tmp_path, tree('', n=3))
  message = refusal(folder, split_fractions=fractions)
  assert f'--split_fractions={fractions}: give three numbers that add up to 1' in message
