"""The torch modules, file for file as in hvnas.blocks; importing this package registers them."""

from hvnas.nn import (  # noqa: F401  (registration)
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
from hvnas.nn.base import build_block, module_for
from hvnas.nn.network import Network, build, build_on_meta

__all__ = ["Network", "build", "build_block", "build_on_meta", "module_for"]
