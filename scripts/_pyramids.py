"""Pyramids of published ablations, as small classes: SPACH, CvT, ConvNeXt's road from ResNet-50, LITv2.

Sizes and block kinds are those of the papers and their repositories; see `_reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

Module = nn.Module


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a map."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return y


class Residual(Module):
    """x + branch(x), with `shortcut` on the first where the shape changes."""

    def __init__(self, branch: Module, shortcut: Module | None = None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = (x if self.shortcut is None else self.shortcut(x)) + self.branch(x)
        return y


class Sum(Module):
    """The sum of what branches give."""

    def __init__(self, *branches: Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *others = (branch(x) for branch in self.branches)
        for other in others:
            first = first + other
        y: torch.Tensor = first
        return y


class Attention(Module):
    """Multi-head attention over a map; keys and values from `reduced`, a module of maps, where there is one.

    `conv` gives each projection a depthwise 3x3 before it, that of keys and values with `stride`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        out: int | None = None,
        conv: bool = False,
        stride: int = 1,
        reduced: Module | None = None,
    ) -> None:
        super().__init__()
        out = out or width
        self.heads, self.reduced = heads, reduced
        self.q = _projection(width, out, conv, 1)
        self.k, self.v = _projection(width, out, conv, stride), _projection(width, out, conv, stride)
        self.proj = nn.Linear(out, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        source = x if self.reduced is None else self.reduced(x)
        q, k, v = self._split(self.q(x)), self._split(self.k(source)), self._split(self.v(source))
        weights = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        mixed = self.proj((weights @ v).transpose(1, 2).flatten(2))
        y: torch.Tensor = mixed.transpose(1, 2).unflatten(2, x.shape[2:])
        return y

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).transpose(1, 2).unflatten(2, (self.heads, -1)).transpose(1, 2)


def _projection(width: int, out: int, conv: bool, stride: int) -> Module:
    linear = nn.Conv2d(width, out, 1)
    if not conv:
        return linear
    depthwise = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
    return nn.Sequential(depthwise, nn.BatchNorm2d(width), linear)


class Windows(Module):
    """A module of maps on windows of `side` positions a side."""

    def __init__(self, module: Module, side: int) -> None:
        super().__init__()
        self.module, self.side = module, side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, width, rows, columns = x.shape
        s = self.side
        pad = (-rows % s, -columns % s)
        x = nn.functional.pad(x, (0, pad[1], 0, pad[0]))
        rows, columns = x.shape[2:]
        cut = x.reshape(batch, width, rows // s, s, columns // s, s).permute(0, 2, 4, 1, 3, 5)
        mixed = self.module(cut.reshape(-1, width, s, s))
        mixed = mixed.reshape(batch, rows // s, columns // s, -1, s, s).permute(0, 3, 1, 4, 2, 5)
        y: torch.Tensor = mixed.reshape(batch, -1, rows, columns)
        return y[:, :, : rows - pad[0], : columns - pad[1]]


class SpatialMlp(Module):
    """An MLP over the positions of a map with `side` a side."""

    def __init__(self, side: int, ratio: float) -> None:
        super().__init__()
        n = side**2
        self.layers = nn.Sequential(nn.Linear(n, int(ratio * n)), nn.GELU(), nn.Linear(int(ratio * n), n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x.flatten(2)).reshape(x.shape)
        return y


def _mlp(width: int, ratio: int, *, local: bool = False) -> Module:
    inner = width * ratio
    depthwise = [nn.Conv2d(inner, inner, 3, padding=1, groups=inner)] if local else []
    return nn.Sequential(nn.Conv2d(width, inner, 1), *depthwise, nn.GELU(), nn.Conv2d(inner, width, 1))


def _depthwise(width: int, kernel: int = 3) -> Module:
    return nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)


def _assembled(layers: Iterable[Module], width: int, norm: Callable[[int], Module]) -> Module:
    head = nn.Linear(width, 1000)
    return nn.Sequential(*layers, norm(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), head)


def spach(change: str) -> Module:
    """SPACH's multi-stage networks (arXiv 2108.13002): ``conv_s``, ``hybrid_s``, ``trans_s``, ``mlp_s``."""
    kind, _, size = change.partition("_")
    depths, width, ratio = {"s": ((3, 4, 12, 3), 128, 3), "xxs": ((2, 2, 6, 2), 64, 2)}[size]
    width = 96 if kind == "trans" else width
    # How many of each stage's blocks mix over the whole map beside the depthwise convolution, the last ones.
    globally = {"conv": (0, 0, 0, 0), "hybrid": (0, 2, 10, 2)}.get(kind, (0, *depths[1:]))
    layers: list[Module] = [nn.Conv2d(3, width, 4, 4)]
    for stage, (depth, mixing) in enumerate(zip(depths, globally, strict=True)):
        if stage:
            layers += [LayerNorm2d(width), nn.Conv2d(width, 2 * width, 2, 2)]
            width *= 2
        side = 56 // 2**stage
        for block in range(depth):
            mixer: Module = _depthwise(width)
            if block >= depth - mixing:
                spatial = SpatialMlp(side, 0.5) if kind == "mlp" else Attention(width, width // 32)
                mixer = Sum(mixer, nn.Sequential(LayerNorm2d(width), spatial))
            layers += [Residual(mixer), Residual(nn.Sequential(LayerNorm2d(width), _mlp(width, ratio)))]
    return _assembled(layers, width, LayerNorm2d)


def cvt(change: str) -> Module:
    """CvT-13 (arXiv 2103.15808, Tables 5 to 8) with one thing changed.

    ``full``; ``stride_1``: keys and values at full size; ``patches``: embeddings that do not overlap;
    ``linear_N``: convolutions in the projections of the first N stages alone.
    """
    convolved = int(change.removeprefix("linear_")) if change.startswith("linear_") else 3
    stride = 1 if change == "stride_1" else 2
    layers: list[Module] = []
    previous = 3
    for stage, (depth, width) in enumerate(zip((1, 2, 10), (64, 192, 384), strict=True)):
        step = 2 if stage else 4
        kernel = step if change == "patches" else (3 if stage else 7)
        padding = 0 if change == "patches" else kernel // 2
        layers += [nn.Conv2d(previous, width, kernel, step, padding), LayerNorm2d(width)]
        conv = stage < convolved
        for _ in range(depth):
            attention = Attention(width, width // 64, conv=conv, stride=stride if conv else 1)
            layers += [Residual(nn.Sequential(LayerNorm2d(width), attention))]
            layers += [Residual(nn.Sequential(LayerNorm2d(width), _mlp(width, 4)))]
        previous = width
    return _assembled(layers, previous, LayerNorm2d)


# Steps of the road, in order; each keeps what those before it changed.
ROAD = (
    *("depths", "patchify", "depthwise", "inverted", "moved_up", "kernel", "gelu"),
    *("fewer_acts", "fewer_norms", "layer_norm"),
)


def convnext_road(change: str) -> Module:
    """ConvNeXt's road from ResNet-50 (arXiv 2201.03545, section 2) up to the step `change`."""
    done = ROAD[: ROAD.index(change) + 1]
    act = nn.GELU if "gelu" in done else nn.ReLU
    norm = LayerNorm2d if "layer_norm" in done else nn.BatchNorm2d
    base = 96 if "depthwise" in done else 64
    layers: list[Module]
    if "patchify" in done:
        layers = [nn.Conv2d(3, base, 4, 4, bias=False), norm(base)]
    else:
        layers = [nn.Conv2d(3, base, 7, 2, 3, bias=False), norm(base), act(), nn.MaxPool2d(3, 2, 1)]
    previous = base
    for stage, depth in enumerate((3, 3, 9, 3)):
        width = base * 2**stage
        out = width if "inverted" in done else 4 * width
        for block in range(depth):
            stride = 2 if stage and block == 0 else 1
            shortcut = None
            if stride == 2 or previous != out:
                shortcut = nn.Sequential(nn.Conv2d(previous, out, 1, stride, bias=False), norm(out))
            layers += [Residual(_road_block(previous, width, out, stride, done, norm, act), shortcut)]
            if "fewer_acts" not in done:
                layers += [act()]
            previous = out
    return _assembled(layers, previous, norm if "layer_norm" in done else lambda width: nn.Identity())


def _road_block(
    previous: int,
    width: int,
    out: int,
    stride: int,
    done: tuple[str, ...],
    norm: Callable[[int], Module],
    act: Callable[[], Module],
) -> Module:
    kernel = 7 if "kernel" in done else 3
    inner = 4 * width if "inverted" in done else width

    def spatial(first: int, last: int) -> Module:
        groups = first if "depthwise" in done else 1
        return nn.Conv2d(first, last, kernel, stride, kernel // 2, groups=groups, bias=False)

    if "moved_up" in done:
        convs = [spatial(previous, previous), nn.Conv2d(previous, inner, 1), nn.Conv2d(inner, out, 1)]
        acts = (False, True, False) if "fewer_acts" in done else (True, True, False)
        norms = (True, False, False) if "fewer_norms" in done else (True, True, True)
    else:
        convs = [nn.Conv2d(previous, inner, 1), spatial(inner, inner), nn.Conv2d(inner, out, 1)]
        acts, norms = (True, True, False), (True, True, True)
    layers: list[Module] = []
    for conv, normed, acted in zip(convs, norms, acts, strict=True):
        layers += [conv]
        layers += [norm(conv.out_channels)] if normed else []
        layers += [act()] if acted else []
    return nn.Sequential(*layers)


def litv2(change: str) -> Module:
    """LITv2-S (arXiv 2205.13213): `change` is the share of heads that attend over pooled keys, in per cent.

    The others attend within windows of 2 x 2; stages 1 and 2 have no attention.
    """
    share = int(change) / 100
    width, layers = 96, [nn.Conv2d(3, 96, 4, 4)]
    built: list[Module] = list(layers)
    for stage, depth in enumerate((2, 2, 6, 2)):
        if stage:
            built += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.GELU()]
            width *= 2
        for _ in range(depth):
            if stage >= 2:
                built += [Residual(nn.Sequential(LayerNorm2d(width), _hilo(width, width // 32, share)))]
            built += [Residual(nn.Sequential(LayerNorm2d(width), _mlp(width, 4, local=True)))]
    return _assembled(built, width, LayerNorm2d)


class _Joined(Module):
    """What branches give, side by side."""

    def __init__(self, branches: list[Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def _hilo(width: int, heads: int, share: float) -> Module:
    low = int(heads * share)
    branches: list[Module] = []
    if heads - low:
        branches += [Windows(Attention(width, heads - low, out=32 * (heads - low)), 2)]
    if low:
        branches += [Attention(width, low, out=32 * low, reduced=nn.AvgPool2d(2, ceil_mode=True))]
    return _Joined(branches)
