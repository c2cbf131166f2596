"""Supernets with nothing at its initial value."""

from __future__ import annotations

import math
from collections.abc import Callable

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
def _shared(tiny: Space) -> Supernet:
    return Supernet(tiny, classes=CLASSES)


@pytest.fixture
def net(_shared: Supernet) -> Supernet:
    """A supernet of `hybrid-tiny`, its weights and statistics at random."""
    randomise(_shared)
    _shared.zero_grad()
    return _shared.eval()


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
