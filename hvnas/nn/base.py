"""Which torch module a block becomes, and the layers that several families share.

Shapes: B batch, C channels, H W height and width, N tokens, D token dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.blocks import Block
from hvnas.nn.folding import Affine, fold_back
from hvnas.ops import State

M = TypeVar("M", bound=type[nn.Module])
_MODULES: dict[type[Block], Callable[..., nn.Module]] = {}

ACTS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": lambda: nn.SiLU(inplace=True),
    "hardswish": lambda: nn.Hardswish(inplace=True),
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
    "tanh": nn.Tanh,
    "none": nn.Identity,
}


def module_for(block: type[Block]) -> Callable[[M], M]:
    """Class decorator: this module is what `block` becomes.

    The module is constructed as ``Module(block, state, drop_path=rate)``.
    """

    def register(cls: M) -> M:
        _MODULES[block] = cls
        return cls

    return register


def build_block(block: Block, state: State, *, drop_path: float = 0.0) -> nn.Module:
    """Return the torch module of one block for the input state `state`.

    Raises ValueError where the block has no module or cannot take `state`.
    """
    if type(block) not in _MODULES:
        raise ValueError(f"no torch module for block {block.type!r}; register one with hvnas.nn.module_for")
    module = _MODULES[type(block)]
    if state.map is None or state.tokens is None or block.two_branch:
        return module(block, state, drop_path=drop_path)
    return PassTokens(module(block, replace(state, tokens=None), drop_path=drop_path))


class PassTokens(nn.Module):
    """A block on the map that lets the global tokens beside it pass: ``(x, z)`` to ``(f(x), z)``."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, xz: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x_BCHW, z_BMD = xz
        return self.block(x_BCHW), z_BMD


def make_act(name: str) -> nn.Module:
    """Activation module by name. Raises ValueError."""
    if name not in ACTS:
        raise ValueError(f"unknown activation {name!r}; there are: {', '.join(ACTS)}")
    return ACTS[name]()


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of a map."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = x_BCHW.permute(0, 2, 3, 1)
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


class TokenGroupNorm(nn.GroupNorm):
    """GroupNorm over tokens and their channels."""

    def forward(self, x_BND: Tensor) -> Tensor:
        return super().forward(x_BND.transpose(1, 2)).transpose(1, 2)


class TokenBatchNorm(nn.BatchNorm1d):
    """BatchNorm of the last axis, of tokens or of vectors."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


def make_norm(name: str, channels: int, *, tokens: bool = False, eps: float | None = None) -> nn.Module:
    """``bn``, ``ln``, ``gn`` (one group) or ``none``, for a map or for tokens. Raises ValueError."""
    if name == "none":
        return nn.Identity()
    if name == "bn":
        return (TokenBatchNorm if tokens else nn.BatchNorm2d)(channels, eps=eps or 1e-5)
    if name == "ln":
        return nn.LayerNorm(channels, eps=eps or 1e-5) if tokens else LayerNorm2d(channels, eps=eps or 1e-6)
    if name == "gn":
        return (TokenGroupNorm if tokens else nn.GroupNorm)(1, channels, eps=eps or 1e-5)
    raise ValueError(
        f"unknown norm {name!r} for {'tokens' if tokens else 'a map'}; there are: bn, ln, gn, none"
    )


class LayerScale(nn.Module):
    """Learned factor per channel of a map or of tokens."""

    def __init__(self, channels: int, *, init: float = 1e-5, tokens: bool = False) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), init))
        self.tokens = tokens

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.gamma if self.tokens else self.gamma.view(-1, 1, 1))

    def per_channel(self) -> Affine:
        return self.gamma, torch.zeros_like(self.gamma)


class DropPath(nn.Module):
    """Stochastic depth per sample (1603.09382): drops a residual branch, scales what is kept."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        kept = 1.0 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(kept)
        return x * mask.div_(kept)


class ConvNormAct(nn.Sequential):
    """Convolution, norm, activation; parts named conv, norm, act."""

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        norm: str = "bn",
        act: str = "none",
        eps: float | None = None,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        pad = kernel // 2 if padding is None else padding
        self.add_module("conv", nn.Conv2d(channels, out, kernel, stride, pad, groups=groups, bias=bias))
        if norm != "none":
            self.add_module("norm", make_norm(norm, out, eps=eps))
        if act != "none":
            self.add_module("act", make_act(act))

    def fold(self) -> None:
        if "norm" in self._modules:
            fold_back(self, "norm", "conv")
            if isinstance(self.norm, nn.Identity):
                del self.norm


class AsMap(nn.Module):
    """Tokens back to a map."""

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x_BND: Tensor) -> Tensor:
        return x_BND.transpose(1, 2).unflatten(2, self.grid)


class AsTokens(nn.Module):
    """A map to tokens."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.flatten(2).transpose(1, 2)


def to_map(state: State) -> nn.Module:
    """What lays the block's input out as a map: nothing, or a fold of tokens."""
    if state.map is None:
        assert state.grid is not None
        return AsMap(state.grid)
    return nn.Identity()


def to_tokens(state: State) -> nn.Module:
    """What lays the block's input out as tokens."""
    return AsTokens() if state.tokens is None else nn.Identity()


def map_channels(state: State) -> int:
    """Channels of the map that arrives, or of the tokens that will be laid out as one."""
    if state.map is not None:
        return state.map[0]
    assert state.tokens is not None
    return state.tokens[1]


def init_weights(model: nn.Module) -> None:
    """Linear and 1x1 weights trunc-normal 0.02, larger kernels fan-out normal, biases zero.

    The rule of the EfficientFormer, PoolFormer and timm code bases; biases of convolutions zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
        elif isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
