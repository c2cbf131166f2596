"""Mobile-Former's blocks.

Shapes: x is the map ``[B, C, H, W]``, z the global tokens ``[B, M, D]``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.blocks.mobileformer import (
    DYNAMIC,
    REDUCTION,
    BneckLite,
    GlobalTokens,
    MobileFormer,
    MobileFormerHead,
)
from hvnas.nn.attention import TokenMlp
from hvnas.nn.base import ConvNormAct, DropPath, make_act, map_channels, module_for, to_map
from hvnas.nn.folding import fold_back
from hvnas.ops import State

Branches = tuple[Tensor, Tensor]


@module_for(GlobalTokens)
class GlobalTokensModule(nn.Module):
    """Learned tokens that run beside the map."""

    def __init__(self, block: GlobalTokens, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(block.count, block.out).normal_())

    def forward(self, x_BCHW: Tensor) -> Branches:
        return x_BCHW, self.weight.expand(x_BCHW.shape[0], -1, -1)


def _attend(q_BNC: Tensor, k_BMC: Tensor, v_BMC: Tensor, heads: int) -> Tensor:
    """Multi-head softmax attention, ``[B, N, C]`` to ``[B, N, C]``."""
    q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (q_BNC, k_BMC, v_BMC))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    return (scores.softmax(3) @ v).transpose(1, 2).flatten(2)


class ToFormer(nn.Module):
    """Mobile->Former: the tokens read the map."""

    def __init__(self, channels: int, width: int, *, heads: int, gate: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, channels)
        self.gate = nn.Linear(width, channels) if gate else None
        self.proj = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor) -> Tensor:
        x_BhCN = x_BCHW.flatten(2).unflatten(1, (self.heads, -1))
        q_BhMC = self.q(z_BMD).unflatten(2, (self.heads, -1)).transpose(1, 2)
        scores = (q_BhMC * x_BhCN.shape[2] ** -0.5) @ x_BhCN
        y_BMC = (scores.softmax(3) @ x_BhCN.transpose(2, 3)).transpose(1, 2).flatten(2)
        if self.gate is not None:
            y_BMC = y_BMC * (2 * F.hardsigmoid(self.gate(z_BMD)))
        return self.norm(z_BMD + self.proj(y_BMC))


class Former(nn.Module):
    """Attention and FFN among the tokens, post-norm."""

    def __init__(self, width: int, *, heads: int, expand: float, shared_kv: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Identity() if shared_kv else nn.Linear(width, width)
        self.v = nn.Identity() if shared_kv else nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = TokenMlp(width, int(width * expand), act="gelu")
        self.norm2 = nn.LayerNorm(width)

    def forward(self, z_BMD: Tensor) -> Tensor:
        y = _attend(self.q(z_BMD), self.k(z_BMD), self.v(z_BMD), self.heads)
        z = self.norm1(z_BMD + self.proj(y))
        return self.norm2(z + self.mlp(z))


class FromFormer(nn.Module):
    """Mobile<-Former: the map reads the tokens."""

    def __init__(self, channels: int, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k = nn.Linear(width, channels)
        self.v = nn.Linear(width, channels)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor) -> Tensor:
        y_BNC = _attend(x_BCHW.flatten(2).transpose(1, 2), self.k(z_BMD), self.v(z_BMD), self.heads)
        return x_BCHW + y_BNC.transpose(1, 2).unflatten(2, x_BCHW.shape[2:])


class StaticAct(nn.Module):
    """An activation that does not read the tokens."""

    def __init__(self, act: str) -> None:
        super().__init__()
        self.act = make_act(act)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None) -> Tensor:
        return self.act(x_BCHW)


class DynamicReLU(nn.Module):
    """The larger of two slopes per channel, both from the first token."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.fc1 = nn.Linear(width, max(1, width // REDUCTION))
        self.fc2 = nn.Linear(max(1, width // REDUCTION), 2 * channels)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor) -> Tensor:
        slopes = 2 * F.hardsigmoid(self.fc2(F.relu(self.fc1(z_BMD[:, 0]))))
        a1, a2 = slopes[:, :, None, None].chunk(2, 1)
        return torch.maximum(x_BCHW * a1, x_BCHW * (a2 - 1))


def make_mobile_act(act: str, channels: int, state: State) -> nn.Module:
    """``act(x, z)`` on `channels` channels."""
    if act != DYNAMIC:
        return StaticAct(act)
    assert state.tokens is not None
    return DynamicReLU(channels, state.tokens[1])


def make_shuffle(channels: int, *, groups: int) -> nn.Module:
    """Channel shuffle by `channels` where the 1x1 convolutions have `groups`, nothing where they have one."""
    return nn.ChannelShuffle(channels) if groups > 1 else nn.Identity()


class DepthPoint(nn.Module):
    """Depthwise, activation, 1x1."""

    def __init__(
        self, block: MobileFormer | BneckLite, channels: int, mid: int, stride: int, state: State
    ) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(channels, mid, kernel=block.kernel, stride=stride, groups=channels)
        self.shuffle = make_shuffle(channels, groups=block.groups) if mid > channels else nn.Identity()
        self.act = make_mobile_act(block.act, mid, state)
        self.project = ConvNormAct(mid, block.out, groups=block.groups)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None) -> Tensor:
        return self.project(self.act(self.shuffle(self.depthwise(x_BCHW)), z_BMD))


@module_for(BneckLite)
class BneckLiteModule(nn.Module):
    """Lite bottleneck."""

    def __init__(self, block: BneckLite, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        channels = map_channels(state)
        self.to_map = to_map(state)
        self.body = DepthPoint(block, channels, int(channels * block.expand), block.stride, state)
        self.skips = block.skips(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        y = self.body(x, None)
        return x + self.drop_path(y) if self.skips else y


class Mobile(nn.Module):
    """1x1, depthwise, 1x1."""

    def __init__(self, block: MobileFormer, state: State, *, drop_path: float) -> None:
        super().__init__()
        channels = map_channels(state)
        mid = int(channels * block.expand)
        self.expand = ConvNormAct(channels, mid, groups=block.groups)
        self.shuffle1 = make_shuffle(block.groups, groups=block.groups)
        self.act = make_mobile_act(block.act, mid, state)
        self.body = DepthPoint(block, mid, mid, block.stride, state)
        self.shuffle2 = make_shuffle(block.groups, groups=block.groups)
        self.skips = block.skips(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None) -> Tensor:
        y = self.act(self.shuffle1(self.expand(x_BCHW)), z_BMD)
        y = self.shuffle2(self.body(y, z_BMD))
        return x_BCHW + self.drop_path(y) if self.skips else y


class MobileDown(nn.Module):
    """Twice depthwise and 1x1, the first strided, with a residual around the second."""

    def __init__(self, block: MobileFormer, state: State, *, drop_path: float) -> None:
        super().__init__()
        channels = map_channels(state)
        self.down = DepthPoint(block, channels, int(channels * block.expand), block.stride, state)
        self.body = DepthPoint(block, block.out, int(block.out * block.expand2), 1, state)
        self.skips = block.skips(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None) -> Tensor:
        x = self.down(x_BCHW, z_BMD)
        y = self.body(x, z_BMD)
        return x + self.drop_path(y) if self.skips else y


@module_for(MobileFormer)
class MobileFormerModule(nn.Module):
    """Mobile->Former, Former, Mobile, Mobile<-Former: a map and tokens in, both out."""

    def __init__(self, block: MobileFormer, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        channels, width = map_channels(state), state.tokens[1] if state.tokens else 0
        self.to_map = None if block.two_branch else to_map(state)
        self.to_former = (
            ToFormer(channels, width, heads=block.heads, gate=block.gate) if block.to_former else None
        )
        self.former = (
            Former(width, heads=block.former_heads, expand=block.former_expand, shared_kv=block.shared_kv)
            if block.former
            else None
        )
        self.mobile = (MobileDown if block.four_conv else Mobile)(block, state, drop_path=drop_path)
        self.from_former = FromFormer(block.out, width, heads=block.heads) if block.from_former else None

    def forward(self, xz: Tensor | Branches) -> Tensor | Branches:
        if self.to_map is not None:
            return self.mobile(self.to_map(xz), None)
        x, z = xz
        if self.to_former is not None:
            z = self.to_former(x, z)
        if self.former is not None:
            z = self.former(z)
        x = self.mobile(x, z)
        if self.from_former is not None:
            x = self.from_former(x, z)
        return x, z


@module_for(MobileFormerHead)
class MobileFormerHeadModule(nn.Module):
    """Classifier on the pooled map and the first token."""

    def __init__(self, block: MobileFormerHead, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        channels, width = map_channels(state), state.tokens[1] if block.token and state.tokens else 0
        mid = int(channels * block.expand)
        self.to_map = None if block.two_branch else to_map(state)
        self.to_former = (
            ToFormer(channels, width, heads=block.heads, gate=block.gate) if block.to_former else None
        )
        self.shuffle = make_shuffle(block.groups, groups=block.groups)
        self.expand = ConvNormAct(channels, mid, groups=block.groups, act="relu6")
        self.hidden = nn.Linear(mid + width, block.hidden)
        self.norm = nn.BatchNorm1d(block.hidden)
        self.fc = nn.Linear(block.hidden, block.out)

    def forward(self, xz: Tensor | Branches) -> Tensor:
        x, z = xz if self.to_map is None else (self.to_map(xz), None)
        if self.to_former is not None:
            z = self.to_former(x, z)
        y = F.hardswish(self.expand(self.shuffle(x)).mean((2, 3)))
        if z is not None:
            y = torch.cat((y, z[:, 0]), 1)
        return self.fc(F.hardswish(self.norm(self.hidden(y))))

    def fold(self) -> None:
        fold_back(self, "norm", "hidden")
