"""MobileViT's block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.blocks.mobilevit import MobileViT, padded_grid
from hvnas.nn.attention import TokenMlp
from hvnas.nn.base import ConvNormAct, DropPath, map_channels, module_for, to_map
from hvnas.nn.vit import ViTAttention
from hvnas.ops import State


class TransformerLayer(nn.Module):
    """``x += Attention(LN(x))``; ``x += MLP(LN(x))``."""

    def __init__(self, width: int, heads: int, hidden: int, *, act: str, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = ViTAttention(width, width // heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = TokenMlp(width, hidden, act=act)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BND: Tensor) -> Tensor:
        x = x_BND + self.drop_path(self.attn(self.norm1(x_BND)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


@module_for(MobileViT)
class MobileViTModule(nn.Module):
    """Convolution, attention across patches, and their fusion with the input."""

    def __init__(self, block: MobileViT, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        channels, act = map_channels(state), block.act
        self.patch = block.patch
        self.to_map = to_map(state)
        self.spatial = ConvNormAct(channels, channels, kernel=block.kernel, act=act)
        self.to_dim = nn.Conv2d(channels, block.dim, 1, bias=False)
        hidden = int(block.dim * block.expand)
        self.transformer = nn.Sequential(
            *(
                TransformerLayer(block.dim, block.heads, hidden, act=act, drop_path=drop_path)
                for _ in range(block.layers)
            )
        )
        self.norm = nn.LayerNorm(block.dim)
        self.project = ConvNormAct(block.dim, block.out, act=act)
        self.fuse = ConvNormAct(channels + block.out, block.out, kernel=block.kernel, act=act)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        y = self.project(self._mix(self.to_dim(self.spatial(x))))
        return self.fuse(torch.cat((x, y), dim=1))

    def _mix(self, y_BCHW: Tensor) -> Tensor:
        """Transformer over the patches, one sequence for each position within a patch."""
        batch, channels, *size = y_BCHW.shape
        patch = self.patch
        height, width = padded_grid((size[0], size[1]), patch)
        resized = [height, width] != size
        y = _interpolate(y_BCHW, height, width) if resized else y_BCHW
        rows, columns = height // patch, width // patch
        y = y.reshape(batch, channels, rows, patch, columns, patch).permute(0, 3, 5, 2, 4, 1)
        y = self.norm(self.transformer(y.reshape(batch * patch**2, rows * columns, channels)))
        y = y.view(batch, patch, patch, rows, columns, channels).permute(0, 5, 3, 1, 4, 2)
        y = y.reshape(batch, channels, height, width)
        return _interpolate(y, size[0], size[1]) if resized else y


def _interpolate(x_BCHW: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x_BCHW, size=(height, width), mode="bilinear", align_corners=False)
