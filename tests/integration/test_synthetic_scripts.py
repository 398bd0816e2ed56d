"""Tests the scripts that draw a synthetic distribution."""

import pytest
from PIL import Image


@pytest.mark.slow
def test_figure_1_ends_undecided(scripts, tmp_path):
  """D is 1/2 on the data after training."""
  ended = scripts('figure1', f'--output={tmp_path / "x.png"}')
  assert (ended.code, ended.err) == (0, '')
  assert float(ended.out.split()[-1]) < 0.05
  with Image.open(tmp_path / 'x.png') as picture:
    assert picture.width > 3 * picture.height
