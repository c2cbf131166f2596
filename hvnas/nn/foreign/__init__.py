"""Converters of other code bases' weights."""

from hvnas.nn.foreign import families  # noqa: F401  (registration)
from hvnas.nn.foreign.families import converter, foreign, renamed

__all__ = ["converter", "foreign", "renamed"]
