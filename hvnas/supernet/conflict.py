"""Gradients of the largest member that conflict with the other members'."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

STRONGEST = 2.0  # of a projection; the authors' code clamps there
TINY = 1e-12


def taken(parameters: Iterable[nn.Parameter]) -> dict[nn.Parameter, Tensor]:
    """The gradients of parameters, which have none afterwards."""
    gradients = {}
    for parameter in parameters:
        if parameter.grad is not None:
            gradients[parameter], parameter.grad = parameter.grad, None
    return gradients


@torch.no_grad()
def project(parameters: Iterable[nn.Parameter], largest: dict[nn.Parameter, Tensor]) -> None:
    """Add the gradients of the largest member to those of the others, without what opposes them.

    For each tensor, with s the sum of the other members' gradients and g the largest's::

        grad = s + g + min(2, max(0, -<g, s> / |s|^2)) * s

    Where the two point apart (<g, s> < 0) g is so projected onto the plane normal to s: the smaller members
    go first. NASViT (Gong et al., ICLR 2022) with the bound of 2 of the authors' code
    (github.com/facebookresearch/NASViT, misc/constrain_opt.py). That code starts to project after 100 of its
    epochs; here every step does.
    """
    for parameter in parameters:
        g = largest.get(parameter)
        if g is None:
            continue
        s = parameter.grad
        if s is None:
            parameter.grad = g
            continue
        against = (-(g * s).sum() / s.square().sum().clamp_min(TINY)).clamp(0.0, STRONGEST)
        s.mul_(1.0 + against).add_(g)
