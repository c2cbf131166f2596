"""extract(arch) is the active member, for random members and for the papers' models."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hvnas
from hvnas.arch import Arch, list_models, load_arch
from hvnas.space import load_space
from hvnas.supernet import Supernet

TOLERANCE = 1e-5
LARGEST = 100e6

Error = Callable[[Tensor, Tensor], float]


def members(net: Supernet, count: int) -> Iterator[Arch]:
    rng = np.random.default_rng(1)
    yield from (net.smallest, net.largest)
    yield from (net.sample(rng) for _ in range(count - 2))


def assert_extracts(net: Supernet, arch: Arch, relative_error: Error) -> None:
    net.set(arch)
    alone = net.extract()
    image = torch.randn(2, 3, net.arch.resolution, net.arch.resolution)
    with torch.no_grad():
        error = relative_error(net(image), alone(image))
    assert error <= TOLERANCE, f"{arch}: {error}"
    assert hvnas.trace(alone, resolution=net.arch.resolution) == net.arch.lower()


def test_random_members(net: Supernet, relative_error: Error) -> None:
    for arch in members(net, 20):
        assert_extracts(net, arch, relative_error)


@pytest.mark.slow
def test_many_random_members(net: Supernet, relative_error: Error) -> None:
    for arch in members(net, 200):
        assert_extracts(net, arch, relative_error)


def around(name: str, resolution: int | None) -> tuple[Supernet, Arch]:
    arch = load_arch(name)
    space = load_space("hybrid").around(arch)
    return Supernet(space, resolution=resolution).eval(), arch


FEW = (
    "efficientformerv2_s0",
    "efficientvit_b0",
    "mobileformer_26m",
    "mobilevit_xxs",
    "poolformer_s12_ppaa",
    "vit_c_1gf",
)


@pytest.mark.parametrize("name", FEW)
def test_small_published_models(
    name: str, randomise: Callable[[nn.Module], None], relative_error: Error
) -> None:
    net, arch = around(name, 64)
    randomise(net)
    assert_extracts(net, arch.with_(resolution=64), relative_error)
    assert_extracts(net, net.sample(np.random.default_rng(0)), relative_error)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_published_models(name: str, randomise: Callable[[nn.Module], None], relative_error: Error) -> None:
    if load_arch(name).lower().params >= LARGEST:
        pytest.skip("100 M parameters or more")
    net, arch = around(name, None)
    randomise(net)
    assert_extracts(net, arch, relative_error)


def test_the_active_member_stays_when_another_is_extracted(net: Supernet) -> None:
    net.set(net.smallest)
    assert net.extract(net.largest).arch == net.largest
    assert net.arch == net.smallest


def test_the_copy_has_weights_of_its_own(net: Supernet) -> None:
    net.set(net.smallest)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = net(image)
        for parameter in net.extract().parameters():
            parameter.zero_()
        assert torch.equal(net(image), before)
