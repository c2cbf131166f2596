"""DSS: synaptic diversity of attention and synaptic saliency of the rest."""

from __future__ import annotations

import math

import torch

from hvnas.accuracy.proxies.flow import Flow, flows
from hvnas.accuracy.proxies.subject import Subject


def diversity(flow: Flow) -> float:
    """``‖dR/dW‖_nuc · ‖W‖_nuc``, a weight tensor as a matrix of outputs by all the rest."""
    return math.prod(
        float(torch.linalg.matrix_norm(matrix.flatten(1), ord="nuc"))
        for matrix in (flow.gradient, flow.weight)
    )


def dss(subject: Subject) -> float:
    """``log(sum over attention of ‖dR/dW‖_nuc ‖W‖_nuc + sum over the rest of sum |W ∘ dR/dW|)``.

    W are the absolute weights of a layer and R the sum of the outputs for an image of ones, as in
    `hvnas.accuracy.proxies.synflow`, norms kept. Attention: the linear layers, or 1x1 convolutions, that
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
