"""Stems and downsampling layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvnas.blocks.stem import ConvDown, ConvStem, PatchStem
from hvnas.nn.base import ConvNormAct, map_channels, module_for, to_map
from hvnas.ops import State


@module_for(ConvStem)
class ConvStemModule(nn.Sequential):
    """A stack of convolutions with norm and activation."""

    def __init__(self, block: ConvStem, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        channels = map_channels(state)
        for i, width in enumerate(block.widths):
            bare = block.bare_last and i == len(block.widths) - 1
            self.add_module(
                f"conv{i + 1}",
                ConvNormAct(
                    channels,
                    width,
                    kernel=block.kernels[i],
                    stride=block.strides[i],
                    padding=block.paddings[i],
                    bias=block.bias,
                    norm="none" if bare else "bn",
                    act="none" if bare else block.act,
                    eps=block.eps,
                ),
            )
            channels = width
        if block.project:
            self.add_module("project", nn.Conv2d(channels, block.out, 1))


@module_for(PatchStem)
class PatchStemModule(nn.Module):
    """One strided convolution."""

    def __init__(self, block: PatchStem, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(map_channels(state), block.out, block.kernel, block.stride, block.padding)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(x_BCHW)


@module_for(ConvDown)
class ConvDownModule(nn.Sequential):
    """Strided convolution between stages, then the position map, which starts at zero."""

    def __init__(self, block: ConvDown, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        if state.map is None:
            self.add_module("to_map", to_map(state))
        self.add_module(
            "conv",
            ConvNormAct(
                map_channels(state),
                block.out,
                kernel=block.kernel,
                stride=block.stride,
                bias=True,
                norm=block.norm,
            ),
        )
        grid = block.lower(state).state.map
        assert grid is not None
        self.position = nn.Parameter(torch.zeros(grid)) if block.position else None

    def forward(self, x: Tensor) -> Tensor:
        x_BCHW = super().forward(x)
        return x_BCHW if self.position is None else x_BCHW + self.position
