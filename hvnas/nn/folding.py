"""Folding what scales and shifts every channel into the layer before it: deploy(model).

In eval mode BatchNorm is ``y = s x + t`` per channel with ``s = weight / sqrt(var + eps)`` and
``t = bias - s mean`` (1502.03167, Algorithm 2); layer scale is ``y = gamma x``. A convolution or linear
layer before it takes s as a factor of its output channels and t into its bias; a 1x1 convolution or
linear layer after it takes s as a factor of its input channels and ``W t`` into its bias. A larger
kernel after it cannot: at the border it reads zeros where the norm would have given t.
"""

from __future__ import annotations

import copy
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Affine = tuple[Tensor, Tensor]
WITH_OUTPUT_CHANNELS = (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm, _BatchNorm)


@runtime_checkable
class PerChannel(Protocol):
    """A module that computes ``s x + t`` per channel."""

    def per_channel(self) -> Affine:
        """s and t, one entry per channel."""
        ...


def fold_back(owner: nn.Module, name: str, layer: str) -> None:
    """`into_previous` for the part `name` of `owner` and the layer under the path `layer`."""
    setattr(owner, name, into_previous(owner.get_submodule(name), owner.get_submodule(layer)))


def fold_ahead(owner: nn.Module, name: str, layer: str) -> None:
    """`into_next` for the part `name` of `owner` and the layer under the path `layer`."""
    setattr(owner, name, into_next(owner.get_submodule(name), owner.get_submodule(layer)))


def into_previous(module: nn.Module, layer: nn.Module) -> nn.Module:
    """What is left of `module` once `layer`, whose output alone it reads, has taken it over.

    The identity, or `module` itself where one of the two is of another kind. `layer` is changed: a
    convolution, a linear layer, or a norm with weight and bias.
    """
    affine = _affine(module)
    weight = layer.weight if isinstance(layer, WITH_OUTPUT_CHANNELS) else None
    if affine is None or not isinstance(weight, Tensor):
        return module
    scale, shift = affine
    bias = shift if not isinstance(layer.bias, Tensor) else layer.bias.double() * scale + shift
    _set(layer, weight.double() * scale.view(-1, *(1,) * (weight.dim() - 1)), bias)
    return nn.Identity()


def into_next(module: nn.Module, layer: nn.Module) -> nn.Module:
    """What is left of `module` once `layer`, which alone reads its output, has taken it over.

    The identity, or `module` itself where it is of another kind, or `layer` is no 1x1 convolution in
    one group and no linear layer. `layer` is changed.
    """
    affine = _affine(module)
    if affine is None or not _mixes_channels_only(layer):
        return module
    scale, shift = affine
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    weight = layer.weight.double()
    added = weight.flatten(1) @ shift
    bias = added if layer.bias is None else layer.bias.double() + added
    _set(layer, weight * scale.view(-1, *(1,) * (weight.dim() - 2)), bias)
    return nn.Identity()


def _affine(module: nn.Module) -> Affine | None:
    """s and t in float64; None where `module` does not compute that."""
    if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
        scale = (module.running_var.double() + module.eps).rsqrt()
        if module.weight is not None:
            scale = scale * module.weight.double()
        shift = -module.running_mean.double() * scale
        return scale, shift if module.bias is None else shift + module.bias.double()
    if isinstance(module, PerChannel):
        scale, shift = module.per_channel()
        return scale.double(), shift.double()
    return None


def _mixes_channels_only(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == (1, 1) and layer.groups == 1 and set(layer.padding) == {0}
    return isinstance(layer, nn.Linear)


def _set(layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Give `layer` these tensors, in the precision and memory layout that it had."""
    old: Tensor = layer.weight  # type: ignore[assignment]
    layer.weight = nn.Parameter(torch.empty_like(old).copy_(weight), requires_grad=old.requires_grad)
    layer.bias = nn.Parameter(bias.to(old.dtype), requires_grad=old.requires_grad)


M = TypeVar("M", bound=nn.Module)


@runtime_checkable
class Foldable(Protocol):
    """A module that knows which of its parts can be folded into others without changing its outputs."""

    def fold(self) -> None:
        """Fold, in place and for eval mode; the parts have been folded already."""
        ...


@torch.no_grad()
def deploy(model: M) -> M:
    """Copy `model` in eval mode, with the same outputs and fewer ops; `model` stays as it is.

    BatchNorm and layer scale are folded into the convolution or linear layer before them, BatchNorm in
    front of a 1x1 convolution into that, and tables of attention biases are spread out over the positions.
    The factors are computed in float64. The copy's state dict is not that of `model`, and it is not to
    be trained. A module takes part by a method ``fold()``.
    """
    deployed = copy.deepcopy(model).eval().requires_grad_(False)
    for module in reversed(list(deployed.modules())):
        if isinstance(module, Foldable):
            module.fold()
    return deployed
