"""Proxies that are made of gradients: ZiCo's variation over batches, SynFlow and DSS.

SynFlow and DSS share a pass: absolute weights, an image of ones, the sum of the outputs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.accuracy.proxies.probed import ProbedNetwork, attention_layers, layers

BATCHES = 2
IMAGES = 4


def gradients(subject: ProbedNetwork, images: Tensor, labels: Tensor) -> list[Tensor]:
    """The gradient of the mean cross-entropy of one batch for the weights of every layer.

    `labels` are whole numbers of any size, taken modulo the number of classes.
    """
    weights = [layer.weight for layer in layers(subject.model)]
    logits = subject.model(images)
    loss = F.cross_entropy(logits, labels % logits.shape[1])
    return [
        torch.zeros_like(weight) if gradient is None else gradient
        for weight, gradient in zip(
            weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True
        )
    ]


def inverse_variation(gradients_by_batch: Sequence[Tensor]) -> float:
    """``log sum(E|g| / sd|g|)`` over one layer's weights, those whose |g| never varies left out; 0 if all."""
    sizes = torch.stack([gradient.abs() for gradient in gradients_by_batch])
    mean = sizes.mean(0)
    sd = (sizes - mean).square_().mean(0).sqrt_()
    varies = sd != 0
    total = float(torch.where(varies, mean / sd, 0.0).sum(dtype=torch.float64))
    return math.log(total) if total != 0 else 0.0


def _batches(subject: ProbedNetwork) -> Iterator[list[Tensor]]:
    subject.model.train()
    images, labels = subject.images(BATCHES * IMAGES), subject.labels(BATCHES * IMAGES)
    for batch, truth in zip(images.split(IMAGES), labels.split(IMAGES), strict=True):
        yield gradients(subject, batch, truth)


def zico(subject: ProbedNetwork) -> float:
    """``sum over layers of log sum over weights of E|g| / sqrt(Var|g|)``, over 2 batches of 4 images.

    g is the gradient of cross-entropy on one batch; mean and (population) variance are over batches.
    A layer is a convolution or a linear layer, those that make queries, keys and values and the
    projection behind them included; attention itself is seen by the gradients through it. Biases, norms
    and tables of position biases have no say. Weights whose |g| does not vary are left out.

    Source: "ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients", 2301.11300, the
    definition at the end of section 3; published with real images and labels, here noise (see
    `hvnas.accuracy.proxies.probed`). Known failure: every layer adds a positive term, so that it is
    mostly a count of layers. Cost: two forward and backward passes of 4 images, and twice the memory of
    the weights.
    """
    by_layer = zip(*_batches(subject), strict=True)
    return sum(inverse_variation(gradients) for gradients in by_layer)


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


def flows(subject: ProbedNetwork) -> list[Flow]:
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


def synflow(subject: ProbedNetwork) -> float:
    """``log sum |θ ∘ dR/dθ|`` over the weights of all layers, ``R = sum_c f(1; |θ|)_c``.

    Convolutions and linear layers, those of attention included, count by their weights; softmax
    attention over positions passes gradients like any layer. Unlike the source, norms stay: LayerNorm
    and GroupNorm normalise, batch norm passes its input on, since without them softmax attention
    overflows. In float64; the logarithm keeps the order.

    Source: "Pruning neural networks without any data by iteratively conserving synaptic flow", 2006.05467,
    R_SF and its saliency; as a score of architectures 2101.08134, section 3. Known failure: values grow
    exponentially through layers with batch norm alone, so that a LayerNorm branch behind them adds
    nothing to its residual and the classifier alone decides; networks of different norms are not
    comparable, and very deep ones overflow and rank last. Cost: one forward and backward pass of one
    image in float64.
    """
    total = sum(float(flow.saliency) for flow in flows(subject))
    return math.log(total) if total > 0 else float("nan")


def diversity(flow: Flow) -> float:
    """``‖dR/dW‖_nuc · ‖W‖_nuc``, a weight tensor as a matrix of outputs by all the rest."""
    return math.prod(
        float(torch.linalg.matrix_norm(matrix.flatten(1), ord="nuc"))
        for matrix in (flow.gradient, flow.weight)
    )


def dss(subject: ProbedNetwork) -> float:
    """``log(sum over attention of ‖dR/dW‖_nuc ‖W‖_nuc + sum over the rest of sum |W ∘ dR/dW|)``.

    W are the absolute weights of a layer and R the sum of the outputs for an image of ones, as in
    `hvnas.accuracy.proxies.gradients`, norms kept. Attention: the linear layers, or 1x1 convolutions, that
    make queries, keys and values, and the projection. The rest: MLPs, patch embedding and classifier.
    The source defines it for pure ViT. On other networks, this project counts every convolution outside
    of attention with the rest, and a network without attention has the second sum alone, which is
    `synflow`; nothing published supports either.

    Source: "Training-free Transformer Architecture Search", 2203.12217, section 3, the DSS indicator.
    Known failure: the two sums have different scales, and the larger decides; of hybrid networks it says
    nothing. Cost: one forward and backward pass of one image in float64, and the singular values of two
    matrices for every layer of attention.
    """
    total = sum(diversity(flow) if flow.attention else float(flow.saliency) for flow in flows(subject))
    return math.log(total) if total > 0 else float("nan")
