"""Initial weights of a supernet: residual branches that add nothing at first.

Members then start as one and the same short network (stem, downsampling, head), which all of them train, and
a block that is drawn for the first time leaves what its neighbours read as it was. The scale of the last norm
of a residual branch is zero (arXiv 1706.02677, section 5.1); where a branch ends without a norm, its last
weights are (arXiv 1901.09321). Blocks with a layer scale start near zero by themselves. Blocks of one's own
do too where `ends_residual` says what their branch ends with::

    ends_residual(MyBlock, "body.project.norm.weight")
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from hvnas.nn.coatnet import CoatMBConvModule, CoatTransformerModule
from hvnas.nn.efficientvit import EfficientViTModule
from hvnas.nn.mbconv import ConvResidualModule, FusedMBConvModule, InvertedBottleneck
from hvnas.nn.mobileformer import BneckLiteModule, Mobile, MobileDown
from hvnas.nn.vit import ViTBlockModule
from hvnas.supernet.memory import plan
from hvnas.supernet.modules import inner_of, on_meta
from hvnas.supernet.supernet import Supernet
from hvnas.supernet.variants import STRIDED

_RUNS = (".local.", ".global.")
_ENDS: dict[type[nn.Module], tuple[str, ...]] = {}


def ends_residual(module: type[nn.Module], *names: str) -> None:
    """Declare the tensors of `module` whose zeros make its residual branches add nothing."""
    _ENDS[module] = names


@torch.no_grad()
def quieten(net: Supernet) -> None:
    """Set the ends of all residual branches in runs to zero, in place.

    A first block that strides has no shortcut, and keeps its values. One that only changes the width has
    none either, but shares its weights with one that has; its norm's own gradient is not zero, and it leaves
    nothing in a few steps.
    """
    for (where, branch), slot in plan(net.space, classes=net.classes, resolution=net.resolution).items():
        if any(run in where for run in _RUNS) and STRIDED not in branch:
            module = inner_of(on_meta(*slot.variants[0]))
            for name in _ends_of(module):
                net.get_parameter(f"{where}.{branch}.{name}").zero_()


def _ends_of(module: nn.Module) -> Iterator[str]:
    tensors = dict(module.named_parameters())
    for prefix, part in module.named_modules():
        for cls in type(part).__mro__:
            for name in _ENDS.get(cls, ()):
                full = f"{prefix}.{name}" if prefix else name
                if full in tensors:
                    yield full


ends_residual(InvertedBottleneck, "layers.project.norm.weight")
ends_residual(FusedMBConvModule, "layers.project.norm.weight")
ends_residual(ConvResidualModule, "layers.conv2.norm.weight")
ends_residual(BneckLiteModule, "body.project.norm.weight")
ends_residual(Mobile, "body.project.norm.weight")
ends_residual(MobileDown, "body.project.norm.weight")
ends_residual(CoatMBConvModule, "project.weight")
ends_residual(CoatTransformerModule, "attn.proj.weight", "mlp.fc2.weight")
ends_residual(EfficientViTModule, "attn.proj.norm.weight")
ends_residual(ViTBlockModule, "attn.proj.weight", "mlp.fc2.weight")
