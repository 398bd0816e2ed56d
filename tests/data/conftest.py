import pytest

from tests.helpers import tiny_data


@pytest.fixture
def tiny(tmp_path, monkeypatch):
  """Returns a data folder with the four original files of the small MNIST."""
  return tiny_data.folder_with_originals(tmp_path, monkeypatch)
