"""The block dataclasses, a file per family. Importing this package registers them all."""

from hvnas.blocks import (  # noqa: F401  (registration)
    attention,
    coatnet,
    efficientformerv2,
    efficientvit,
    head,
    mbconv,
    metaformer,
    mobileformer,
    mobilevit,
    stem,
    vit,
)
from hvnas.blocks.base import (
    Block,
    block_class,
    has_stride,
    is_block,
    list_blocks,
    lower_block,
    register_block,
)

__all__ = ["Block", "block_class", "has_stride", "is_block", "list_blocks", "lower_block", "register_block"]
