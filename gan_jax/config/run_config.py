"""Describes a run: one frozen dataclass, checked when it is made."""

import dataclasses

from gan_jax.config import validation
from gan_jax.config.setting_definitions import Settings


@dataclasses.dataclass(frozen=True)
class Config(Settings):
  """Holds the settings of one run, each a flag of the same name; raises UserError where they cannot be run."""

  def __post_init__(self) -> None:
    """Raises UserError, in one line, for settings that cannot be run."""
    for field in dataclasses.fields(self):
      validation.check_setting(field, getattr(self, field.name))
    validation.check_together(self)
