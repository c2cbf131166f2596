"""Tiny networks whose scores can be computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hvnas.accuracy.proxies.probed import ProbedNetwork

SIZE = 4


class Mlp(nn.Module):
    """Flattened images through two layers of ReLU; ``fc2`` is the one block."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3 * SIZE**2, 12)
        self.fc2 = nn.Linear(12, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.fc2(self.fc1(x.flatten(1)).relu()).relu())


@pytest.fixture
def mlp() -> ProbedNetwork:
    """`Mlp` with weights of seed 0."""
    model = Mlp()
    return ProbedNetwork.ready(model, blocks=[model.fc2], resolution=SIZE)
