"""Optional packages of the exports, and networks whose every part shows in the outputs."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch

from hvnas.arch import Arch
from hvnas.nn import Network, build
from hvnas.supernet.statistics import recalibrate

Need = Callable[..., None]


@pytest.fixture
def need() -> Need:
    """Skips the test where a package is missing, or fails it where everything is required."""

    def check(*packages: str) -> None:
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            give_up = pytest.fail if os.environ.get("HVNAS_REQUIRE_ALL") else pytest.skip
            give_up(f"{', '.join(missing)} is not installed; pip install 'hvnas[export]' brings it")

    return check


@pytest.fixture
def lively() -> Callable[[Arch], Network]:
    """Builds a network with statistics, biases and layer scales as training may leave them.

    Freshly initialised, a branch behind a layer scale of 1e-5 could be wrong altogether without a trace; with
    statistics at random, activations grow until attention turns over at a rounding error.
    """

    def make(arch: Arch) -> Network:
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

    return make
