"""deploy(model): the network in the form that is exported and timed."""

from __future__ import annotations

import copy
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

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
