"""The pass that SynFlow and DSS share: absolute weights, an image of ones, the sum of the outputs."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hvnas.accuracy.proxies.subject import Subject, attention_layers, layers


@dataclass(frozen=True)
class Flow:
    """A layer's absolute weights, their gradient of R, and whether the layer belongs to attention."""

    weight: Tensor
    gradient: Tensor
    attention: bool

    @property
    def saliency(self) -> Tensor:
        """``sum |W ∘ dR/dW|``."""
        return (self.weight * self.gradient).abs().sum()


def flows(subject: Subject) -> list[Flow]:
    """Every convolution and linear layer of the network under ``R = sum_c f(1; |θ|)_c``, in float64.

    Norms are kept: LayerNorm and GroupNorm normalise, without which softmax attention overflows; batch norm
    uses its running statistics, mean 0 and variance 1, and so passes its input on.
    """
    model = copy.deepcopy(subject.model).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    image = torch.ones(1, 3, subject.resolution, subject.resolution, dtype=torch.float64)
    weighted = layers(model)
    within = attention_layers(model)
    gradients = torch.autograd.grad(
        model(image).sum(), [layer.weight for layer in weighted], allow_unused=True
    )
    return [
        _flow(layer, gradient, layer in within) for layer, gradient in zip(weighted, gradients, strict=True)
    ]


def _flow(layer: nn.Conv2d | nn.Linear, gradient: Tensor | None, attention: bool) -> Flow:
    weight = layer.weight.detach()
    return Flow(weight, torch.zeros_like(weight) if gradient is None else gradient, attention)
