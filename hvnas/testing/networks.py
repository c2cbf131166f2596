"""Networks whose every part shows in the outputs."""

from __future__ import annotations

import torch

from hvnas.arch import Arch
from hvnas.nn import Network, build
from hvnas.supernet.scoring import recalibrate


def lively(arch: Arch) -> Network:
    """A network in eval with biases and layer scales as training may leave them, and statistics of images.

    The same weights at each call; torch's generator is left elsewhere. Freshly initialised, a branch behind a
    layer scale of 1e-5 could be wrong altogether without a trace; with statistics at random, activations grow
    until attention turns over at a rounding error.
    """
    torch.manual_seed(0)
    network = build(arch).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("gamma"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("bias", "table")):
                tensor.normal_(std=0.1)
    recalibrate(network, [torch.randn(4, 3, arch.resolution, arch.resolution)])
    return network
