"""Lists the images of a Parquet file with a column of encoded images, as Hugging Face's datasets writes it."""

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gan_jax.data.reader.entries import Entry, file_stamp
from gan_jax.data.reader.options import MAX_FILE_BYTES
from gan_jax.data.reader.summary import NOT_IMAGES, TOO_LARGE, ReadSummary
from gan_jax.utils.errors import UserError

_IMAGE_COLUMNS = ('image', 'img', 'images', 'picture', 'png', 'jpg', 'jpeg', 'webp', 'bytes')
_LABEL_COLUMNS = ('label', 'labels', 'class', 'cls', 'target', 'fine_label', 'y')
_ROWS = 64  # read at once


class ParquetSource:
  """Lists the images of one column, with labels of another; raises UserError."""

  def __init__(self, given: str, path: Path) -> None:
    try:
      import pyarrow.parquet
    except ImportError:
      mend = 'install it by `pip install pyarrow`, or write the images to a folder'
      raise UserError(f'{given}: a Parquet file needs pyarrow; {mend}') from None
    self._given, self._path = given, path
    self.n_files: int | None = None
    self._kinds: Any = pyarrow.types
    with self._one_line():
      schema = pyarrow.parquet.read_schema(path)
    self._image = self._image_column(schema)
    self._label = next((name for name in _LABEL_COLUMNS if name in schema.names), None)
    self.class_names = _class_names(schema, self._label)

  @contextlib.contextmanager
  def _one_line(self) -> Iterator[None]:
    try:
      yield
    except (
      OSError,
      ValueError,
      KeyError,
      NotImplementedError,
      TypeError,
    ) as error:  # as pyarrow raises
      reason = ' '.join(str(error).split())[:100]
      raise UserError(
        f'{self._given}: the Parquet file is damaged ({reason}); copy it again'
      ) from None

  def _image_column(self, schema: Any) -> str:
    found = [field.name for field in schema if self._is_image(field.type)]
    chosen = [name for name in _IMAGE_COLUMNS if name in found]
    if chosen or len(found) == 1:
      return (chosen or found)[0]
    mend = 'name the column of encoded images `image`'
    columns = ', '.join(schema.names[:8])
    raise UserError(f'{self._given}: the columns {columns} hold no images; {mend}')

  def _is_image(self, kind: Any) -> bool:
    if self._kinds.is_struct(kind):
      return kind.get_field_index('bytes') >= 0
    return bool(self._kinds.is_binary(kind) or self._kinds.is_large_binary(kind))

  def stamp(self) -> str:
    """Returns the SHA-256 of the file's size and modification time."""
    return file_stamp(self._path)

  def entries(self, summary: ReadSummary) -> Iterator[Entry]:
    """Yields the images in the order of the rows."""
    import pyarrow.parquet

    columns = [self._image, *([self._label] if self._label else [])]
    row = 0
    with self._one_line(), pyarrow.parquet.ParquetFile(self._path) as file:
      for batch in file.iter_batches(_ROWS, columns=columns, use_threads=False):
        rows = batch.to_pydict()
        labels = rows[self._label] if self._label else [None] * len(rows[self._image])
        for value, label in zip(rows[self._image], labels, strict=True):
          content = value.get('bytes') if isinstance(value, dict) else value
          name = f'row {row}'
          row += 1
          if not content:
            summary.leave_out(NOT_IMAGES, name)
          elif len(content) > MAX_FILE_BYTES:
            summary.leave_out(TOO_LARGE, name)
          else:
            load = functools.partial(_identity, content)
            yield Entry(name, load, len(content), name, label=_plain_label(label))


def _identity(content: bytes) -> bytes:
  return content


def _plain_label(label: Any) -> int | str | None:
  return label if label is None or isinstance(label, (int, str)) else str(label)


def _class_names(schema: Any, label: str | None) -> tuple[str, ...]:
  """Returns the names of classes that Hugging Face's datasets writes into the schema's metadata."""
  try:
    about = json.loads((schema.metadata or {})[b'huggingface'])
    return tuple(map(str, about['info']['features'][label]['names']))
  except (KeyError, TypeError, ValueError, AttributeError):
    return ()
