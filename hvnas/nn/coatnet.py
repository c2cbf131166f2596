"""CoAtNet's blocks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.blocks.coatnet import CoatMBConv, CoatTransformer
from hvnas.nn.attention import BiasTable
from hvnas.nn.base import (
    ConvNormAct,
    DropPath,
    LayerNorm2d,
    make_act,
    make_norm,
    map_channels,
    module_for,
    to_map,
)
from hvnas.nn.folding import fold_ahead
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
        self.pre_norm = make_norm(block.norm, channels)
        self.expand = ConvNormAct(channels, mid, stride=first, norm=block.norm, act=block.act)
        self.depthwise = ConvNormAct(
            mid, mid, kernel=block.kernel, stride=second, groups=mid, norm=block.norm, act=block.act
        )
        self.se = SqueezeExcite(mid, max(1, int(block.se * block.out))) if block.se else nn.Identity()
        self.project = nn.Conv2d(mid, block.out, 1)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        y = self.depthwise(self.expand(self.pre_norm(x)))
        return self.shortcut(x) + self.drop_path(self.project(self.se(y)))

    def fold(self) -> None:
        fold_ahead(self, "pre_norm", "expand.conv")


class RelativeBias(BiasTable):
    """A bias per relative offset between two positions of a grid."""

    def __init__(self, heads: int, grid: tuple[int, int]) -> None:
        height, width = grid
        ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        ys, xs = ys.flatten(), xs.flatten()
        dy = ys[:, None] - ys[None] + height - 1
        dx = xs[:, None] - xs[None] + width - 1
        super().__init__(heads, (2 * height - 1) * (2 * width - 1), dy * (2 * width - 1) + dx)
        self.grid = grid


def resize_bias(table: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """A relative-bias table ``[heads, (2H-1)(2W-1)]`` of `old_grid` for `new_grid`.

    Plain bilinear interpolation of each head's (2H-1) x (2W-1) table, what CoAtNet does before it
    finetunes at a larger resolution (2106.04803, Appendix A.1). Raises ValueError where `table` is of
    another grid.
    """
    rows, columns = (2 * size - 1 for size in old_grid)
    if table.shape[1:] != (rows * columns,):
        raise ValueError(
            f"a bias table of a {old_grid[0]} x {old_grid[1]} grid has {rows * columns} entries a head, "
            f"this one is {tuple(table.shape)}; pass the grid that it was made for"
        )
    size = tuple(2 * size - 1 for size in new_grid)
    table_1HRC = table.unflatten(1, (rows, columns))[None]
    return F.interpolate(table_1HRC, size, mode="bilinear", align_corners=False)[0].flatten(1)


def fit_biases(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` with every relative-bias table of another, square grid resized to `model`'s grid.

    Tables that are no such thing stay as they are, and do not fit.
    """
    fitted = dict(state)
    for name, module in model.named_modules():
        theirs = state.get(f"{name}.table")
        if not isinstance(module, RelativeBias) or theirs is None or theirs.dim() != 2:
            continue
        side = math.isqrt(theirs.shape[1])
        if theirs.shape[1] != module.table.shape[1] and side % 2 and side**2 == theirs.shape[1]:
            grid = ((side + 1) // 2, (side + 1) // 2)
            fitted[f"{name}.table"] = resize_bias(theirs, grid, module.grid)
    return fitted


class RelativeAttention(nn.Module):
    """Multi-head attention with per-head [q, k, v] channels and relative bias, without its projections."""

    def __init__(self, block: CoatTransformer, grid: tuple[int, int]) -> None:
        super().__init__()
        self.post = block.relative == "post"
        self.heads = block.out // block.head_dim
        self.bias = RelativeBias(self.heads, grid) if block.relative != "none" else None

    def forward(self, qkv_BHND: Tensor) -> Tensor:
        q, k, v = qkv_BHND.chunk(3, dim=3)
        bias = None if self.bias is None else self.bias()
        if self.post:
            assert bias is not None
            scores = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
            return (scores.softmax(-1) + bias) @ v
        # the fused kernel wants the mask's batch axis, and rows of channels in q, k and v
        return F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias[None])


class MapAttention(RelativeAttention):
    """Relative attention over a whole map."""

    def __init__(self, channels: int, block: CoatTransformer, grid: tuple[int, int]) -> None:
        super().__init__(block, grid)
        self.qkv = nn.Conv2d(channels, 3 * block.out, 1)
        self.proj = nn.Conv2d(block.out, block.out, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        batch, _, height, width = x_BCHW.shape
        qkv_BHEN = self.qkv(x_BCHW).view(batch, self.heads, -1, height * width)
        y_BHNE = super().forward(qkv_BHEN.transpose(2, 3).contiguous())
        return self.proj(y_BHNE.transpose(2, 3).reshape(batch, -1, height, width))


class WindowAttention(RelativeAttention):
    """Relative attention within non-overlapping windows of a map."""

    def __init__(self, channels: int, block: CoatTransformer) -> None:
        super().__init__(block, (block.window, block.window))
        self.window = block.window
        self.qkv = nn.Linear(channels, 3 * block.out)
        self.proj = nn.Linear(block.out, block.out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        batch, channels, height, width = x_BCHW.shape
        side, rows, columns = self.window, height // self.window, width // self.window
        x = x_BCHW.view(batch, channels, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        x_WND = x.reshape(-1, side * side, channels)
        qkv = self.qkv(x_WND).unflatten(2, (self.heads, -1)).transpose(1, 2)
        y_WND = self.proj(super().forward(qkv).transpose(1, 2).flatten(2))
        y = y_WND.view(batch, rows, columns, side, side, -1).permute(0, 5, 1, 3, 2, 4)
        return y.reshape(batch, -1, height, width)


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
        self.attn = WindowAttention(channels, block) if block.window else MapAttention(channels, block, grid)
        self.norm2 = LayerNorm2d(block.out)
        self.mlp = ConvMlp(block.out, int(block.out * block.expand), act=block.act)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        x = self.shortcut(x) + self.drop_path(self.attn(self.pool(self.norm1(x))))
        return x + self.drop_path(self.mlp(self.norm2(x)))
