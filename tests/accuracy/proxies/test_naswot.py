"""NASWOT against codes computed in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hvnas.accuracy.proxies import activations as module
from hvnas.accuracy.proxies.probed import ProbedNetwork


def kernel(codes: np.ndarray) -> np.ndarray:
    return codes @ codes.T + (1 - codes) @ (1 - codes).T


def code_of(model: nn.Module, x: np.ndarray) -> np.ndarray:
    w1, w2 = (layer.weight.detach().numpy() for layer in (model.fc1, model.fc2))
    first = x @ w1.T
    second = np.maximum(first, 0) @ w2.T
    return np.hstack([first > 0, second > 0]).astype(np.float64)


def test_kernel_of_two_relu_layers(mlp: ProbedNetwork) -> None:
    images = mlp.images(7)
    expected = kernel(code_of(mlp.model, images.flatten(1).numpy()))
    np.testing.assert_array_equal(module.agreement(mlp, images).numpy(), expected)


def test_score_is_the_log_determinant(mlp: ProbedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NASWOT_IMAGES", 5)
    expected = np.linalg.slogdet(kernel(code_of(mlp.model, mlp.images(5).flatten(1).numpy())))[1]
    assert module.naswot(mlp) == pytest.approx(expected)


def test_equal_images_have_no_finite_score(mlp: ProbedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProbedNetwork, "images", lambda self, n: torch.ones(n, 3, 4, 4))
    assert module.naswot(mlp) == float("-inf")


ACTS = [act(inplace=flag) for act in (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish) for flag in (False, True)]


@pytest.mark.parametrize("act", [*ACTS, nn.GELU()], ids=str)
def test_every_activation_is_coded_by_the_sign_of_its_input(act: nn.Module) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 9), act)
    subject = ProbedNetwork.ready(model, blocks=[], resolution=4)
    images = subject.images(6)
    codes = (images.flatten(1) @ model[1].weight.detach().T > 0).double().numpy()
    np.testing.assert_array_equal(module.agreement(subject, images).numpy(), kernel(codes))


class Attention(nn.Module):
    """Positions of an image attend to each other by their colours."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        if self.fused:
            return F.scaled_dot_product_attention(*(tokens[:, None],) * 3)
        return (tokens @ tokens.transpose(1, 2) * 3**-0.5).softmax(-1) @ tokens


@pytest.mark.parametrize("fused", [False, True])
def test_attention_is_coded_by_what_exceeds_the_uniform_share(fused: bool) -> None:
    subject = ProbedNetwork.ready(Attention(fused), blocks=[], resolution=4)
    images = subject.images(6)
    tokens = images.flatten(2).transpose(1, 2)
    weights = (tokens @ tokens.transpose(1, 2) * 3**-0.5).softmax(-1)
    codes = (weights > 1 / 16).flatten(1).double().numpy()
    np.testing.assert_array_equal(module.agreement(subject, images).numpy(), kernel(codes))
