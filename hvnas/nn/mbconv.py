"""The MobileNet lineage: MBConv, fused MBConv, residual convolutions, identity, head."""

from __future__ import annotations

from torch import Tensor, nn

from hvnas.blocks.mbconv import (
    ConvClassifier,
    ConvResidual,
    FusedMBConv,
    FusedMBConvDown,
    Identity,
    MBConv,
    MBConvDown,
    make_divisible,
)
from hvnas.nn.base import ConvNormAct, DropPath, make_act, map_channels, module_for, to_map
from hvnas.nn.coatnet import SqueezeExcite
from hvnas.ops import State


class Branch(nn.Module):
    """Convolutions one after the other, and their input added where `residual`."""

    def __init__(self, *, residual: bool, drop_path: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        self.residual = residual
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y = self.layers(x_BCHW)
        return x_BCHW + self.drop_path(y) if self.residual else y


class InvertedBottleneck(Branch):
    """Post-activation MBConv on a map; `expand` 1 leaves the first 1x1 out."""

    def __init__(
        self, channels: int, block: MBConv, *, has_depthwise: bool = True, drop_path: float = 0.0
    ) -> None:
        residual = block.stride == 1 and channels == block.out
        super().__init__(residual=residual, drop_path=drop_path)
        norm, bias, act = ("none", True, block.act) if block.fewer_norm else ("bn", False, block.act)
        mid = channels if block.expand == 1 else make_divisible(channels * block.expand)
        if block.expand != 1:
            expand = ConvNormAct(channels, mid, bias=bias, norm=norm, act=act, eps=block.eps)
            self.layers.add_module("expand", expand)
        if has_depthwise:
            depthwise = ConvNormAct(
                mid,
                mid,
                kernel=block.kernel,
                stride=block.stride,
                groups=mid,
                bias=bias,
                norm=norm,
                act=act,
                eps=block.eps,
            )
            self.layers.add_module("depthwise", depthwise)
        if block.se:
            self.layers.add_module("se", SqueezeExcite(mid, max(1, int(block.se * channels)), act=act))
        self.layers.add_module("project", ConvNormAct(mid, block.out, eps=block.eps))


@module_for(MBConv)
@module_for(MBConvDown)
class MBConvModule(InvertedBottleneck):
    """Post-activation MBConv."""

    def __init__(self, block: MBConv, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__(map_channels(state), block, drop_path=drop_path)
        self.to_map = to_map(state)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.to_map(x))


@module_for(FusedMBConv)
@module_for(FusedMBConvDown)
class FusedMBConvModule(Branch):
    """A dense convolution that expands, then a linear 1x1."""

    def __init__(self, block: FusedMBConv, state: State, *, drop_path: float = 0.0) -> None:
        channels = map_channels(state)
        super().__init__(residual=block.stride == 1 and channels == block.out, drop_path=drop_path)
        self.to_map = to_map(state)
        mid = make_divisible(channels * block.expand)
        spatial = ConvNormAct(
            channels, mid, kernel=block.kernel, stride=block.stride, act=block.act, eps=block.eps
        )
        self.layers.add_module("spatial", spatial)
        self.layers.add_module("project", ConvNormAct(mid, block.out, eps=block.eps))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.to_map(x))


@module_for(ConvResidual)
class ConvResidualModule(Branch):
    """Two dense convolutions."""

    def __init__(self, block: ConvResidual, state: State, *, drop_path: float = 0.0) -> None:
        channels = map_channels(state)
        super().__init__(residual=block.stride == 1 and channels == block.out, drop_path=drop_path)
        self.to_map = to_map(state)
        first = ConvNormAct(
            channels, channels, kernel=block.kernel, stride=block.stride, act=block.act, eps=block.eps
        )
        self.layers.add_module("conv1", first)
        self.layers.add_module("conv2", ConvNormAct(channels, block.out, kernel=block.kernel, eps=block.eps))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.to_map(x))


@module_for(Identity)
class IdentityModule(nn.Sequential):
    """Nothing, or a linear 1x1 where the stride or the width changes."""

    def __init__(self, block: Identity, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        channels = map_channels(state)
        if block.stride != 1 or channels != block.out:
            shortcut = ConvNormAct(channels, block.out, stride=block.stride, eps=block.eps)
            self.add_module("project", shortcut)


@module_for(ConvClassifier)
class ConvClassifierModule(nn.Module):
    """A 1x1 convolution, the mean over positions, an optional hidden layer, the classifier."""

    def __init__(self, block: ConvClassifier, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        width = map_channels(state)
        self.to_map = to_map(state)
        self.conv: nn.Module = nn.Identity()
        if block.channels:
            self.conv = ConvNormAct(width, block.channels, act=block.act, eps=block.eps)
            width = block.channels
        self.hidden = nn.Sequential()
        if block.hidden:
            self.hidden.add_module("fc", nn.Linear(width, block.hidden, bias=False))
            self.hidden.add_module("norm", nn.LayerNorm(block.hidden, eps=block.hidden_eps))
            self.hidden.add_module("act", make_act(block.act))
            width = block.hidden
        self.fc = nn.Linear(width, block.out)

    def features(self, x: Tensor) -> Tensor:
        """The vector ``[B, width]`` that the classifier reads."""
        return self.hidden(self.conv(self.to_map(x)).mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))
