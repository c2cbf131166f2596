"""Converters of other code bases' weights, a file per family."""

from hvnas.nn.foreign import (  # noqa: F401  (registration)
    coatnet,
    efficientformer,
    efficientformerv2,
    efficientvit,
    mobilevit,
    poolformer,
    vit,
)
from hvnas.nn.foreign.base import converter, foreign, renamed

__all__ = ["converter", "foreign", "renamed"]
