"""Recalibration: averages over the batches, of the active member, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hvnas.supernet import Supernet, recalibrate


def batches(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(4, 3, 64, 64, generator=generator) for _ in range(count)]


def test_statistics_are_plain_averages() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    recalibrate(model, batches())
    with torch.no_grad():
        maps = [model[0](x) for x in batches()]
    means = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    assert torch.allclose(model[1].running_mean, means, atol=1e-6)
    assert model[1].momentum == 0.1 and model.training


@pytest.mark.parametrize("seed", range(4))
def test_a_member_gets_what_its_copy_gets(net: Supernet, seed: int) -> None:
    net.set(net.sample(np.random.default_rng(seed)))
    alone = net.extract()
    recalibrate(alone, batches())
    recalibrate(net, batches())
    assert not net.training
    for name, tensor in net.extract().state_dict().items():
        wanted = alone.state_dict()[name]
        assert torch.allclose(tensor.float(), wanted.float(), rtol=1e-3, atol=1e-4), name


def test_it_does_not_depend_on_what_was_there(net: Supernet) -> None:
    net.set(net.smallest)
    recalibrate(net, batches())
    first = net.extract().state_dict()
    net.set(net.largest)
    recalibrate(net, batches())
    net.set(net.smallest)
    recalibrate(net, batches())
    second = net.extract().state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_weights_stay(net: Supernet) -> None:
    net.set(net.largest)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    recalibrate(net.train(), batches(1))
    assert net.training
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert all(p.grad is None for p in net.parameters())


def test_no_batch_is_refused(net: Supernet) -> None:
    with pytest.raises(ValueError, match="batches: there must be at least one"):
        recalibrate(net, [])
