"""Optimisers of a recipe, and the moving average of weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from hvnas.train.training import Optimizer

FUSED = ("cpu", "cuda")  # devices where torch has all of AdamW's step in one kernel


def make_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """The optimiser with two groups of parameters: with weight decay, and without."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    least = 0 if settings.decay_norms else 2
    groups = [
        {"params": [p for p in trained if p.ndim >= least], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim < least], "weight_decay": 0.0},
    ]
    if settings.name == "sgd":
        nesterov = settings.momentum > 0
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=nesterov)
    betas = (settings.momentum, settings.beta2)
    fused = all(parameter.device.type in FUSED for parameter in trained)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=betas, eps=settings.eps, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The same rate for every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


HEAD = "head."
LEAST_NORM = 1e-3  # of a weight's norm: new weights of zero can still move (2102.06171, section 4.1)


@torch.no_grad()
def clip_by_weights(model: nn.Module, share: float) -> None:
    """Bound the gradient's norm of every output to `share` of its weights' norm, but for the head.

    Adaptive gradient clipping (2102.06171, equation 3); the scalars and vectors of a layer are one unit each.
    """
    for name, weight in model.named_parameters():
        if weight.grad is None or name.startswith(HEAD):
            continue
        most = _unit_norm(weight).clamp_(min=LEAST_NORM).mul_(share)
        norm = _unit_norm(weight.grad)
        weight.grad.mul_((most / norm.clamp_(min=1e-6)).clamp_(max=1.0))


def _unit_norm(tensor: Tensor) -> Tensor:
    """Norms per output where there are two axes or more, else of the whole; broadcasts with `tensor`."""
    axes = tuple(range(1, tensor.ndim)) if tensor.ndim >= 2 else None
    return torch.linalg.vector_norm(tensor, dim=axes, keepdim=True)


class MovingAverage:
    """Exponential moving average of a model's weights; buffers are copied."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, *, step: int) -> None:
        """Take in the weights after step `step` (from 0).

        The first steps count for more (decay at most (1 + step) / (10 + step), as TensorFlow's): short
        runs forget the initial weights.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for weight, new in zip(self.model.parameters(), model.parameters(), strict=True):
            weight.lerp_(new, 1.0 - decay)
        for buffer, value in zip(self.model.buffers(), model.buffers(), strict=True):
            buffer.copy_(value)
