"""The torch modules, file for file as in hvnas.blocks; importing this package registers them."""

from hvnas.nn import attention, coatnet, head, metaformer, stem  # noqa: F401  (registration)
from hvnas.nn.base import build_block, module_for
from hvnas.nn.network import Network, build, build_on_meta

__all__ = ["Network", "build", "build_block", "build_on_meta", "module_for"]
