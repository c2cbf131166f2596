"""EfficientFormerV2's blocks."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.blocks.efficientformerv2 import Attn4D, AttnDown, UnifiedFFN
from hvnas.nn.attention import OffsetBias
from hvnas.nn.base import ConvNormAct, DropPath, LayerScale, make_act, map_channels, module_for, to_map
from hvnas.nn.folding import fold_back
from hvnas.ops import State


class UnifiedMlp(nn.Sequential):
    """1x1, depthwise, 1x1 convolution, each with bias and BatchNorm, activation between."""

    def __init__(self, block: UnifiedFFN | Attn4D) -> None:
        super().__init__()
        hidden = int(block.out * block.expand)
        self.add_module("fc1", ConvNormAct(block.out, hidden, bias=True, act=block.act))
        depthwise = ConvNormAct(hidden, hidden, kernel=block.kernel, groups=hidden, bias=True, act=block.act)
        self.add_module("depthwise", depthwise)
        self.add_module("fc2", ConvNormAct(hidden, block.out, bias=True))


@module_for(UnifiedFFN)
class UnifiedFFNModule(nn.Module):
    """EfficientFormerV2's local block."""

    def __init__(self, block: UnifiedFFN, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.to_map = to_map(state)
        self.mlp = UnifiedMlp(block)
        self.scale = LayerScale(block.out)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        return x + self.drop_path(self.scale(self.mlp(x)))

    def fold(self) -> None:
        fold_back(self, "scale", "mlp.fc2.conv")


class HeadsOfMap(nn.Module):
    """Keys and values of a map per head, and the depthwise convolution of the values."""

    def __init__(self, channels: int, block: Attn4D | AttnDown, *, stride: int = 1) -> None:
        super().__init__()
        self.heads, self.key_dim = block.heads, block.key_dim
        keys = block.heads * block.key_dim
        values = keys * block.attn_ratio
        self.k = ConvNormAct(channels, keys, bias=True)
        self.v = ConvNormAct(channels, values, bias=True)
        self.local = ConvNormAct(values, values, kernel=block.kernel, stride=stride, groups=values, bias=True)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys ``[B, h, d, N]``, values ``[B, h, N, e]`` and the local part ``[B, h e, H', W']``."""
        v = self.v(x_BCHW)
        k_BHDN = self.k(x_BCHW).flatten(2).unflatten(1, (self.heads, -1))
        return k_BHDN, v.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3), self.local(v)

    def scores(self, q_BCHW: Tensor, k_BHDN: Tensor) -> Tensor:
        """Scaled products ``[B, h, M, N]`` of every query with every key."""
        q_BHMD = q_BCHW.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)
        return (q_BHMD * self.key_dim**-0.5) @ k_BHDN


class MapAttention4D(nn.Module):
    """Attention with offset bias, talking heads and locality, at a stride where there is one."""

    def __init__(self, block: Attn4D, grid: tuple[int, int]) -> None:
        super().__init__()
        stride, channels = block.attn_stride, block.out
        self.shrink = (
            ConvNormAct(channels, channels, kernel=3, stride=stride, groups=channels, bias=True)
            if stride > 1
            else None
        )
        inner = ((grid[0] - 1) // stride + 1, (grid[1] - 1) // stride + 1)
        self.q = ConvNormAct(channels, block.heads * block.key_dim, bias=True)
        self.kv = HeadsOfMap(channels, block)
        self.bias = OffsetBias(block.heads, inner)
        self.talk_before = nn.Conv2d(block.heads, block.heads, 1)
        self.talk_after = nn.Conv2d(block.heads, block.heads, 1)
        self.act = make_act(block.act)
        self.proj = ConvNormAct(block.heads * block.attn_ratio * block.key_dim, channels, bias=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        inner = x_BCHW if self.shrink is None else self.shrink(x_BCHW)
        k, v, local = self.kv(inner)
        scores = self.kv.scores(self.q(inner), k) + self.bias()
        weights = self.talk_after(self.talk_before(scores).softmax(-1))
        y = (weights @ v).transpose(2, 3).reshape(local.shape) + local
        if self.shrink is not None:
            y = F.interpolate(y, x_BCHW.shape[2:], mode="bilinear", align_corners=False)
        return self.proj(self.act(y))


@module_for(Attn4D)
class Attn4DModule(nn.Module):
    """EfficientFormerV2's global block."""

    def __init__(self, block: Attn4D, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        grid = state.grid if state.map is None else state.map[1:]
        assert grid is not None
        self.to_map = to_map(state)
        self.attn = MapAttention4D(block, grid)
        self.mlp = UnifiedMlp(block)
        self.scale1 = LayerScale(block.out)
        self.scale2 = LayerScale(block.out)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        x = x + self.drop_path(self.scale1(self.attn(x)))
        return x + self.drop_path(self.scale2(self.mlp(x)))

    def fold(self) -> None:
        fold_back(self, "scale1", "attn.proj.conv")
        fold_back(self, "scale2", "mlp.fc2.conv")


class HalvedQuery(nn.Module):
    """Queries of every second position: a depthwise convolution plus the position itself, then 1x1."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(channels, channels, 3, 2, 1, groups=channels)
        self.here = nn.AvgPool2d(1, 2)
        self.proj = ConvNormAct(channels, out, bias=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.proj(self.near(x_BCHW) + self.here(x_BCHW))


@module_for(AttnDown)
class AttnDownModule(nn.Module):
    """Attention downsampling: a strided convolution plus attention from the halved map."""

    def __init__(self, block: AttnDown, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        channels = map_channels(state)
        grid = state.grid if state.map is None else state.map[1:]
        assert grid is not None
        self.to_map = to_map(state)
        self.conv = ConvNormAct(channels, block.out, kernel=3, stride=2, bias=True)
        self.q = HalvedQuery(channels, block.heads * block.key_dim)
        self.kv = HeadsOfMap(channels, block, stride=2)
        self.bias = OffsetBias(block.heads, grid, step=2)
        self.act = make_act(block.act)
        self.proj = ConvNormAct(block.heads * block.attn_ratio * block.key_dim, block.out, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        k, v, local = self.kv(x)
        weights = (self.kv.scores(self.q(x), k) + self.bias()).softmax(-1)
        y = (weights @ v).transpose(2, 3).reshape(local.shape) + local
        return self.conv(x) + self.proj(self.act(y))
