"""ZiCo against gradients written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hvnas.accuracy.proxies import gradients as module
from hvnas.accuracy.proxies.probed import ProbedNetwork


def by_hand(model: torch.nn.Module, x: np.ndarray, label: int) -> list[np.ndarray]:
    """Gradients of cross-entropy for the three weights of `Mlp`, one sample."""
    w1, w2, w3 = (m.weight.detach().numpy().astype(np.float64) for m in (model.fc1, model.fc2, model.head))
    a1 = w1 @ x
    a2 = w2 @ np.maximum(a1, 0)
    logits = w3 @ np.maximum(a2, 0)
    p = np.exp(logits - logits.max())
    d3 = p / p.sum() - np.eye(len(p))[label]
    d2 = (w3.T @ d3) * (a2 > 0)
    d1 = (w2.T @ d2) * (a1 > 0)
    return [np.outer(d1, x), np.outer(d2, np.maximum(a1, 0)), np.outer(d3, np.maximum(a2, 0))]


def test_score_from_gradients_of_single_samples(mlp: ProbedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCHES", 3)
    monkeypatch.setattr(module, "IMAGES", 1)
    images, labels = mlp.images(3).flatten(1).double().numpy(), mlp.labels(3).numpy() % 5
    samples = [by_hand(mlp.model, x, y) for x, y in zip(images, labels, strict=True)]
    expected = 0.0
    for layer in range(3):
        sizes = np.abs(np.stack([sample[layer] for sample in samples]))
        varies = sizes.std(0) > 1e-12
        expected += math.log((sizes.mean(0)[varies] / sizes.std(0)[varies]).sum())
    assert module.zico(mlp) == pytest.approx(expected, rel=1e-3)


def test_two_batches_are_half_the_difference_apart() -> None:
    a, b = torch.tensor([1.0, -4.0, 2.0]), torch.tensor([3.0, 2.0, 2.0])
    # means 2 and 3, deviations 1 and 1; the third does not vary
    assert module.inverse_variation([a, b]) == pytest.approx(math.log(2 / 1 + 3 / 1))


def test_a_layer_that_nothing_reaches_adds_nothing() -> None:
    assert module.inverse_variation([torch.zeros(4), torch.zeros(4)]) == 0.0


def test_nan_gradients_give_nan() -> None:
    assert math.isnan(module.inverse_variation([torch.tensor([1.0, math.nan]), torch.tensor([2.0, 1.0])]))
