"""NASWOT: how differently a network's nonlinearities treat different images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from hvnas.accuracy.proxies.probed import ProbedNetwork

IMAGES = 16

_ATEN = torch.ops.aten
_ACTS = frozenset(
    getattr(_ATEN, name + ending)
    for name in "relu gelu silu hardswish hardtanh leaky_relu elu hardsigmoid sigmoid tanh".split()
    for ending in ("", "_")
    if hasattr(_ATEN, name + ending)
)
_SOFTMAX = frozenset({_ATEN._softmax, _ATEN._safe_softmax})


class Codes(TorchDispatchMode):
    """Adds up, over every nonlinearity that runs, in how many bits the codes of two samples agree.

    `agreement` is ``[B, B]``; `bits` is the length of a code.
    """

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.agreement = torch.zeros(samples, samples, dtype=torch.float64)
        self.bits = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        packet = func.overloadpacket
        if packet in _ACTS:
            self._add(args[0] > 0)
        out = func(*args, **(kwargs or {}))
        if packet in _SOFTMAX:
            self._add(out * out.shape[args[1]] > 1)
        return out

    def _add(self, code: Tensor) -> None:
        samples = len(self.agreement)
        if code.dim() == 0 or code.shape[0] % samples:
            return  # of parameters alone: no sample has a say
        c = code.reshape(samples, -1).float()
        ones, units = c.sum(1), c.shape[1]
        # c·c' + (1 - c)·(1 - c'), without the second product
        self.agreement += 2 * (c @ c.T) - ones[:, None] - ones + units
        self.bits += units


def agreement(subject: ProbedNetwork, images: Tensor) -> Tensor:
    """K_H ``[B, B]``: in how many bits the codes of two images agree."""
    subject.model.train()
    # attention in elementary operations: the fused kernels hide the softmax
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), Codes(len(images)) as codes:
        subject.model(images)
    return codes.agreement


def naswot(subject: ProbedNetwork) -> float:
    """``log |det K_H|``, ``K_H[i, j] = c_i · c_j + (1 - c_i) · (1 - c_j)`` over 16 images.

    c_i is the binary code of image i: one bit for each unit of each nonlinearity, 1 where its input is
    positive. Convolutions and linear layers are seen through the activation behind them: ReLU and ReLU6
    as published, and GELU, SiLU, Hardswish, sigmoid and tanh by the same sign. Softmax attention has no
    kink; here, a weight's bit is 1 where it exceeds the uniform share 1/m of its row of m keys. ReLU
    linear attention is seen by its ReLU. Batch norm uses the batch's own statistics.

    Source: "Neural Architecture Search without Training", 2006.04647, section 3; the rules for smooth
    activations and for softmax are this project's. Known failure: it is mostly a count of units, since
    every unit adds to the diagonal, and says little among networks of equal activations. Two images of
    equal codes give -inf. Cost: one forward pass of 16 images without gradients.
    """
    return float(torch.linalg.slogdet(agreement(subject, subject.images(IMAGES))).logabsdet)
