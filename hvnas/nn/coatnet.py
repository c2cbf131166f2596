"""CoAtNet's blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.blocks.coatnet import CoatMBConv, CoatTransformer
from hvnas.nn.base import ConvNormAct, DropPath, LayerNorm2d, make_act, map_channels, module_for, to_map
from hvnas.nn.metaformer import ConvMlp
from hvnas.ops import State


class SqueezeExcite(nn.Module):
    """Channel gate from the mean over positions."""

    def __init__(self, channels: int, reduced: int, *, act: str = "silu", gate: str = "sigmoid") -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, reduced, 1)
        self.act = make_act(act)
        self.fc2 = nn.Conv2d(reduced, channels, 1)
        self.gate = make_act(gate)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y = x_BCHW.mean((2, 3), keepdim=True)
        return x_BCHW * self.gate(self.fc2(self.act(self.fc1(y))))


def make_pool(kind: str, stride: int) -> nn.Module:
    """Pooling whose kernel equals its stride; nothing at stride 1."""
    if stride == 1:
        return nn.Identity()
    return nn.MaxPool2d(stride) if kind == "max" else nn.AvgPool2d(stride)


def make_shortcut(channels: int, out: int, *, pool: str, stride: int) -> nn.Module:
    """The identity branch: pooling, then a 1x1 convolution where the width changes."""
    proj = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)
    return nn.Sequential(make_pool(pool, stride), proj)


@module_for(CoatMBConv)
class CoatMBConvModule(nn.Module):
    """Pre-activation MBConv with squeeze-excitation."""

    def __init__(self, block: CoatMBConv, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        channels, mid = map_channels(state), int(block.out * block.expand)
        first, second = (block.stride, 1) if block.stride_in == "expand" else (1, block.stride)
        self.to_map = to_map(state)
        self.shortcut = make_shortcut(channels, block.out, pool=block.pool, stride=block.stride)
        self.pre_norm = nn.BatchNorm2d(channels)
        self.expand = ConvNormAct(channels, mid, stride=first, act=block.act)
        self.depthwise = ConvNormAct(mid, mid, kernel=block.kernel, stride=second, groups=mid, act=block.act)
        self.se = SqueezeExcite(mid, max(1, int(block.se * block.out))) if block.se else nn.Identity()
        self.project = nn.Conv2d(mid, block.out, 1)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        y = self.depthwise(self.expand(self.pre_norm(x)))
        return self.shortcut(x) + self.drop_path(self.project(self.se(y)))


class RelativeBias(nn.Module):
    """A learned bias per head and relative offset between two positions of a grid."""

    index_NN: Tensor

    def __init__(self, heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        height, width = grid
        self.grid = grid
        self.table = nn.Parameter(torch.zeros(heads, (2 * height - 1) * (2 * width - 1)))
        ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        ys, xs = ys.flatten(), xs.flatten()
        dy = ys[:, None] - ys[None] + height - 1
        dx = xs[:, None] - xs[None] + width - 1
        self.register_buffer("index_NN", dy * (2 * width - 1) + dx, persistent=False)

    def forward(self) -> Tensor:
        return self.table[:, self.index_NN]


class MapAttention(nn.Module):
    """Multi-head attention on a map with per-head [q, k, v] channels and relative bias."""

    def __init__(self, channels: int, out: int, head_dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.heads = out // head_dim
        self.qkv = nn.Conv2d(channels, 3 * out, 1)
        self.bias = RelativeBias(self.heads, grid)
        self.proj = nn.Conv2d(out, out, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        batch, _, height, width = x_BCHW.shape
        qkv = self.qkv(x_BCHW).view(batch, self.heads, -1, height * width).transpose(2, 3)
        q, k, v = qkv.chunk(3, dim=3)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias())
        return self.proj(y.transpose(2, 3).reshape(batch, -1, height, width))


@module_for(CoatTransformer)
class CoatTransformerModule(nn.Module):
    """Relative attention and FFN on a map."""

    def __init__(self, block: CoatTransformer, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        channels = map_channels(state)
        height, width = state.map[1:] if state.map else state.grid  # type: ignore[misc]
        grid = (height // block.stride, width // block.stride)
        self.to_map = to_map(state)
        self.shortcut = make_shortcut(channels, block.out, pool=block.pool, stride=block.stride)
        self.norm1 = LayerNorm2d(channels)
        self.pool = make_pool(block.pool, block.stride)
        self.attn = MapAttention(channels, block.out, block.head_dim, grid)
        self.norm2 = LayerNorm2d(block.out)
        self.mlp = ConvMlp(block.out, int(block.out * block.expand), act=block.act)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        x = self.shortcut(x) + self.drop_path(self.attn(self.pool(self.norm1(x))))
        return x + self.drop_path(self.mlp(self.norm2(x)))
