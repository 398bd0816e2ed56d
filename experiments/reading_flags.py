"""Defines the flags by which scripts read folders and files of images or points."""

import dataclasses
import sys
from collections.abc import Callable

from absl import flags

from gan_jax.config.run_config import Config
from gan_jax.data.reader import ReadOptions


def define_reading_flags(*names: str) -> Callable[[], ReadOptions]:
  """Defines the flags of these names, by default all, and returns a function that reads their values.

  Names, texts and choices are those of the settings of `experiments.train`.
  """
  fields = {field.name: field for field in dataclasses.fields(Config)}
  holders = {}
  for name in names or ReadOptions._fields:
    text, choices = fields[name].metadata['help'], fields[name].metadata['choices']
    default = str(fields[name].default)
    if choices:
      holders[name] = flags.DEFINE_enum(name, default, choices, text)
    else:
      holders[name] = flags.DEFINE_string(name, default, text)
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
  return lambda: ReadOptions(**{name: holder.value for name, holder in holders.items()})
