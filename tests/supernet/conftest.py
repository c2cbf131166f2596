"""Supernets with nothing at its initial value."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hvnas.space import Space, load_space
from hvnas.supernet import Supernet

CLASSES = 10


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """The same draws in each test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def tiny() -> Space:
    """`hybrid-tiny`."""
    return load_space("hybrid-tiny")


@pytest.fixture(scope="session")
def tiny_at_32(tiny: Space) -> Supernet:
    """A supernet of `hybrid-tiny` for 16 classes and images of 32 pixels a side; who writes copies it."""
    torch.manual_seed(0)
    return Supernet(tiny, classes=16, resolution=32)


@dataclass(frozen=True)
class Drawn:
    """A supernet, what was drawn for it, and the state of the generator behind that."""

    net: Supernet
    state: dict[str, Tensor]
    generator: Tensor


@pytest.fixture(scope="session")
def drawn(tiny: Space) -> Drawn:
    """A supernet of `hybrid-tiny`, its weights and statistics at random."""
    net = Supernet(tiny, classes=CLASSES)
    torch.manual_seed(0)
    randomise(net)
    return Drawn(net, copy.deepcopy(net.state_dict()), torch.get_rng_state())


@pytest.fixture
def net(drawn: Drawn) -> Supernet:
    """The supernet as it was drawn, whatever the tests before made of it."""
    drawn.net.load_state_dict(drawn.state)
    drawn.net.zero_grad()
    torch.set_rng_state(drawn.generator)
    return drawn.net.eval()


def randomise(model: nn.Module) -> None:
    """Draw every weight and every statistic, activations staying of order one."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if tensor.dim() > 1:
                tensor.normal_(std=1 / math.sqrt(tensor[0].numel()))
            elif name.endswith(("bias", "running_mean")):
                tensor.normal_(std=0.1)
            else:
                tensor.uniform_(0.5, 1.5)


@pytest.fixture(name="randomise")
def _randomise() -> Callable[[nn.Module], None]:
    return randomise


@pytest.fixture
def relative_error() -> Callable[[Tensor, Tensor], float]:
    """The largest difference, relative to the largest value."""

    def error(got: Tensor, wanted: Tensor) -> float:
        assert wanted.isfinite().all() and wanted.std() > 1e-3
        return float((got - wanted).abs().max() / wanted.abs().max())

    return error
