"""SynFlow and DSS against matrices multiplied in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from hvnas.accuracy.proxies.gradients import dss, flows, synflow
from hvnas.accuracy.proxies.probed import ProbedNetwork


def absolute(model: nn.Module) -> list[np.ndarray]:
    return [layer.weight.detach().abs().double().numpy() for layer in (model.fc1, model.fc2, model.head)]


def test_every_layer_carries_the_whole_flow(mlp: ProbedNetwork) -> None:
    w1, w2, w3 = absolute(mlp.model)
    total = (w3 @ w2 @ w1 @ np.ones(48)).sum()
    assert [float(flow.saliency) for flow in flows(mlp)] == pytest.approx([total] * 3)
    assert synflow(mlp) == pytest.approx(math.log(3 * total))


def test_without_attention_diversity_is_saliency(mlp: ProbedNetwork) -> None:
    assert dss(mlp) == pytest.approx(synflow(mlp))


class Attention(nn.Module):
    """By its name alone: one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(48, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.flatten(1))


def test_attention_counts_by_nuclear_norms() -> None:
    model = Attention()
    subject = ProbedNetwork.ready(model, blocks=[], resolution=4)
    weight = model.fc.weight.detach().abs().double().numpy()
    nuclear = np.linalg.svd(weight, compute_uv=False).sum()
    # R is the sum of all weights: its gradient is a matrix of ones, of nuclear norm sqrt(4 · 48)
    assert dss(subject) == pytest.approx(math.log(nuclear * math.sqrt(4 * 48)))


def test_the_network_keeps_its_weights(mlp: ProbedNetwork) -> None:
    before = {name: tensor.clone() for name, tensor in mlp.model.state_dict().items()}
    synflow(mlp)
    after = mlp.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert after["fc1.weight"].dtype == torch.float32


def test_batch_norm_passes_and_layer_norm_normalises() -> None:
    def score(norm: nn.Module, factor: float) -> float:
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), norm, nn.Linear(8, 3))
        subject = ProbedNetwork.ready(model, blocks=[], resolution=4)
        with torch.no_grad():
            model[1].weight.mul_(factor)
        return synflow(subject)

    assert score(nn.BatchNorm1d(8), 10.0) == pytest.approx(score(nn.BatchNorm1d(8), 1.0) + math.log(10.0))
    assert score(nn.LayerNorm(8), 10.0) == pytest.approx(score(nn.LayerNorm(8), 1.0), abs=1e-3)
