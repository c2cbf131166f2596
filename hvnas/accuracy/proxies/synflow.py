"""SynFlow with norms kept."""

from __future__ import annotations

import math

from hvnas.accuracy.proxies.flow import flows
from hvnas.accuracy.proxies.subject import Subject


def synflow(subject: Subject) -> float:
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
