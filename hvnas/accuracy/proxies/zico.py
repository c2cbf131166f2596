"""ZiCo: the inverse coefficient of variation of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from hvnas.accuracy.proxies.probed import ProbedNetwork, layers

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
