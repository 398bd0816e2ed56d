import numpy as np
import pytest

from gan_jax.evaluation import class_choice
from gan_jax.utils.errors import UserError

NUMBERED = ('1', '2', '10')  # folders in natural order


@pytest.mark.parametrize(
  ('text', 'names', 'expected'),
  [
    ('10', NUMBERED, [2]),  # a name comes before a number
    ('0', NUMBERED, [0]),  # no name: the number
    ('2,1', NUMBERED, [1, 0]),
    ('all', NUMBERED, [0, 1, 2]),
    ('cat', ('cat', 'dog'), [0]),
    (' dog , cat ', ('cat', 'dog'), [1, 0]),
    ('cat, tabby', ('cat, tabby', 'dog', 'x'), [0]),
    ('Übung', ('a', 'Übung', 'c'), [1]),
    ('2', (), [2]),
  ],
)
def test_a_class_is_chosen_by_its_name_or_else_by_its_number(text, names, expected):
  assert class_choice.parse_classes('class', text, names, 3) == expected


@pytest.mark.parametrize('text', ['bird', '3', '-1', '1.0', '', 'cat,', '²', '9' * 30])
def test_an_unknown_class_is_refused_with_the_known_ones(text):
  with pytest.raises(UserError) as error:
    class_choice.parse_classes('class', text, ('cat', 'dog', 'cow'), 3)
  assert str(error.value).startswith(f'--class={text}: ')
  assert 'is no class; give one of cat, dog, cow, or a number from 0 to 2' in str(error.value)


def test_classes_come_in_turn_or_in_proportion_to_the_training_data():
  assert class_choice.class_labels([0, 1, 2], 7).tolist() == [0, 1, 2, 0, 1, 2, 0]
  assert class_choice.class_labels([2], 3).tolist() == [2, 2, 2]
  labels = class_choice.class_labels([0, 1, 2], 9, (10, 20, 60))
  assert np.bincount(labels).tolist() == [1, 2, 6]
  assert np.bincount(labels[:5], minlength=3).tolist() == [1, 1, 3]  # spread, not in blocks
  assert np.bincount(class_choice.class_labels([0, 2], 7, (10, 20, 60))).tolist() == [1, 0, 6]
  for n in range(40):
    labels = class_choice.class_labels([0, 1, 2], n, (10, 20, 60))
    assert len(labels) == n
    counts = np.bincount(labels, minlength=3)
    assert np.all(np.abs(counts - n * np.array([1, 2, 6]) / 9) < 1)
  with pytest.raises(UserError, match='no training examples of these classes'):
    class_choice.class_labels([0], 3, (0, 1))


def test_folders_of_classes_are_unique_and_lead_nowhere_else():
  names = ('cat', '../cat', '..', '', 'a/b', 'a\\b', 'x' * 300, 'x' * 301, 'neue\nZeile', 'cat')
  folders = class_choice.folder_names(names)
  assert len(set(folders)) == len(names)
  assert not [x for x in folders if '/' in x or x in ('', '.', '..') or len(x) > 110 or '\n' in x]
  assert folders[0] == 'cat'
