"""Weights, images and labels that depend on the seed and on nothing else."""

from __future__ import annotations

import math

import torch
from torch import nn

import hvnas
from hvnas.accuracy.proxies.probed import ProbedNetwork, attention_layers, layers
from hvnas.nn.base import LayerScale


def test_the_seed_decides_everything() -> None:
    arch = hvnas.load_arch("efficientformer_l1").shrunk()
    torch.manual_seed(1)
    first = ProbedNetwork.of(arch, seed=3)
    torch.manual_seed(2)
    second, other = ProbedNetwork.of(arch, seed=3), ProbedNetwork.of(arch, seed=4)
    for a, b in zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(first.images(2), second.images(2))
    assert torch.equal(first.labels(9), second.labels(9))
    assert not torch.equal(first.images(2), other.images(2))
    assert not torch.equal(layers(first.model)[0].weight, layers(other.model)[0].weight)


def test_torch_draws_on_as_before() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    ProbedNetwork.of(hvnas.load_arch("poolformer_s12").shrunk()).images(1)
    assert torch.equal(torch.rand(3), expected)


def test_initialisation() -> None:
    model = nn.Sequential(nn.Conv2d(64, 128, 3, groups=2), nn.BatchNorm2d(128), LayerScale(128))
    nn.init.zeros_(model[1].weight)
    ProbedNetwork.ready(model, blocks=[], resolution=8)
    conv, norm, scale = model
    fan_in = 32 * 9
    assert abs(float(conv.weight.detach().std()) / math.sqrt(2 / fan_in) - 1) < 0.05
    assert float(conv.bias.detach().abs().max()) == 0
    assert float(norm.weight.detach().min()) == 1
    assert float(scale.gamma.detach().min()) == 1


def test_blocks_leave_out_stem_and_head() -> None:
    arch = hvnas.load_arch("efficientformer_l1")
    parts = [label for label, _ in arch.parts() if label.startswith("stages.")]
    assert len(ProbedNetwork.of(arch.shrunk()).blocks) <= len(parts)
    assert len(ProbedNetwork.of(arch).blocks) == len(parts)


def test_attention_layers_are_the_projections() -> None:
    subject = ProbedNetwork.of(hvnas.load_arch("efficientformer_l1"))
    names = {module: name for name, module in subject.model.named_modules()}
    found = {names[layer].rpartition(".")[2] for layer in attention_layers(subject.model)}
    assert found == {"qkv", "proj"}
    mobile = ProbedNetwork.of(hvnas.load_arch("mobileformer_26m")).model
    names = {module: name for name, module in mobile.named_modules()}
    assert not any(".mlp." in names[layer] for layer in attention_layers(mobile))
    assert not attention_layers(ProbedNetwork.of(hvnas.load_arch("poolformer_s12").shrunk()).model)
