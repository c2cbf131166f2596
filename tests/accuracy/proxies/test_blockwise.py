"""AZ-NAS's two proxies on features and blocks whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from hvnas.accuracy.proxies.activations import (
    az_expressivity,
    az_trainability,
    isotropy,
    rows_like,
    stability,
)
from hvnas.accuracy.proxies.probed import ProbedNetwork


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_entropy_of_known_eigenvalues() -> None:
    # two uncorrelated channels with variances 3 and 1
    tokens = torch.tensor([[[3.0, 1], [3, -1], [-3, 1], [-3, -1]]]) * torch.tensor([math.sqrt(3) / 3, 1])
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert isotropy(tokens) == pytest.approx(expected, rel=1e-5)


def test_entropy_does_not_depend_on_layout_scale_or_rotation() -> None:
    map_ = torch.randn(4, 6, 5, 5, generator=rng())
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=rng()))[0]
    tokens = map_.flatten(2).transpose(1, 2)
    assert isotropy(tokens) == pytest.approx(isotropy(map_), rel=1e-5)
    assert isotropy(7 * tokens @ rotation + 3) == pytest.approx(isotropy(map_), rel=1e-4)


def test_more_channels_than_samples_give_the_same_spectrum() -> None:
    tokens = torch.randn(1, 5, 9, generator=rng(), dtype=torch.float64)
    values = np.linalg.eigvalsh(np.cov(tokens[0].numpy().T)).clip(0)
    p = values[values > 1e-12] / values.sum()
    assert isotropy(tokens) == pytest.approx(-(p * np.log(p)).sum(), rel=1e-6)


def test_constant_features_express_nothing() -> None:
    assert isotropy(torch.ones(2, 4, 3, 3)) == 0.0


def test_an_identity_is_perfectly_trainable() -> None:
    x = torch.randn(32, 64, 3, generator=rng()).requires_grad_()
    # the estimate's own noise: 2,048 samples of a 3 x 3 matrix
    assert stability(x, x.clone(), rng()) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_scaling_is_less_so(factor: float) -> None:
    x = torch.randn(64, 1024, 3, generator=rng()).requires_grad_()
    assert stability(x, factor * x, rng()) == pytest.approx(2 - factor - 1 / factor, abs=0.06)


def test_a_linear_block_has_the_spectral_norm_of_its_weight() -> None:
    layer = nn.Linear(4, 6, bias=False)
    nn.init.normal_(layer.weight, generator=rng())
    x = torch.randn(64, 256, 4, generator=rng()).requires_grad_()
    s = float(torch.linalg.matrix_norm(layer.weight.detach(), 2))
    assert stability(x, layer(x), rng()) == pytest.approx(2 - s - 1 / s, rel=0.05)


def test_a_block_that_lets_nothing_through_is_untrainable() -> None:
    x = torch.randn(2, 8, 3, generator=rng()).requires_grad_()
    assert stability(x, 0 * x, rng()) == float("-inf")


def test_strided_positions_hold_what_they_cover() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    rows = rows_like(x, torch.zeros(1, 3, 2, 2))
    assert rows is not None
    assert rows[0, 0].tolist() == [0, 1, 4, 5]
    assert rows[0, 3].tolist() == [10, 11, 14, 15]


def test_odd_sizes_are_filled_with_zeros() -> None:
    rows = rows_like(torch.ones(1, 1, 7, 7), torch.zeros(1, 16, 2))
    assert rows is not None
    assert rows.shape == (1, 16, 4)
    assert float(rows.sum()) == 49


def test_a_class_token_that_is_added_has_no_counterpart() -> None:
    assert rows_like(torch.ones(1, 1, 4, 4), torch.zeros(1, 17, 2)) is None


def test_blocks_do_not_see_each_other() -> None:
    first, second = (nn.Conv2d(3, 3, 1, bias=False) for _ in range(2))
    model = nn.Sequential(first, second, nn.Flatten(), nn.Linear(48, 4))
    alone = ProbedNetwork.ready(model, blocks=[second], resolution=4)
    both = ProbedNetwork.ready(model, blocks=[first, second], resolution=4)
    assert az_expressivity(both) > az_expressivity(alone)
    # the second block's Jacobian is its weight, whatever the first one's is
    with torch.no_grad():
        first.weight.mul_(100.0)
    s = float(torch.linalg.matrix_norm(second.weight.detach().flatten(1), 2))
    assert az_trainability(alone) == pytest.approx(2 - s - 1 / s, abs=0.5)


def test_without_blocks_trainability_is_unknown() -> None:
    subject = ProbedNetwork.ready(nn.Sequential(nn.Flatten(), nn.Linear(48, 4)), blocks=[], resolution=4)
    assert math.isnan(az_trainability(subject))
