"""The block dataclasses, a file per family. Importing this package registers them all."""

from hvnas.blocks import attention, coatnet, head, metaformer, stem  # noqa: F401  (registration)
from hvnas.blocks.base import (
    Block,
    block_class,
    has_stride,
    list_blocks,
    lower_block,
    register_block,
)

__all__ = ["Block", "block_class", "has_stride", "list_blocks", "lower_block", "register_block"]
