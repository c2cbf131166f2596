"""deploy: same outputs with BatchNorm and layer scale folded away."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

import hvnas
from hvnas.arch import Arch, load_arch
from hvnas.nn import build
from hvnas.nn.base import LayerScale
from hvnas.nn.folding import into_next, into_previous
from hvnas.ops.trace import trace

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
FOLDED = (nn.BatchNorm1d, nn.BatchNorm2d, LayerScale)
# what stays: a layer scale behind pooling of the bare map, BatchNorm in front of pooling
LEFT = {"efficientformer_l1": 8, "poolformer_s12_nonorm": 8, "poolformer_s12_bn": 8}
NAMES = [
    "efficientformer_l1",
    "efficientformerv2_s0",
    "poolformer_s12",
    "poolformer_s12_bn",
    "poolformer_s12_depthwise",
    "poolformer_s12_id",
    "poolformer_s12_nonorm",
    "poolformer_s12_ppaa",
    "poolformer_s12_ppff",
    "poolformer_s12_random",
    "coatnet_0",
    "coatnet_0_dws",
    "mobilevit_xxs",
    "efficientvit_b0",
    "efficientvit_l1",
    "mobileformer_26m",
    "mobileformer_294m",
    "vit_c_1gf",
]


def small(name: str) -> Arch:
    return load_arch(name).shrunk()


def image(arch: Arch, dtype: torch.dtype) -> Tensor:
    size = arch.resolution
    return torch.randn(2, 3, size, size, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_stay(name: str, randomise) -> None:
    model = build(small(name))
    randomise(model)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    for dtype in (torch.float64, torch.float32):
        model.to(dtype).eval()
        deployed = hvnas.deploy(model)
        x = image(model.arch, dtype)
        with torch.no_grad():
            wanted, got = model(x), deployed(x)
        assert wanted.std() > 1e-2
        assert (got - wanted).abs().max() <= TOLERANCE[dtype] * wanted.abs().max()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_to_fold(name: str) -> None:
    deployed = hvnas.deploy(build(small(name)))
    assert sum(isinstance(module, FOLDED) for module in deployed.modules()) == LEFT.get(name, 0)


@pytest.mark.parametrize("name", ["efficientformerv2_s0", "coatnet_0", "mobilevit_xxs", "mobileformer_26m"])
def test_fewer_ops_remain(name: str) -> None:
    """Of the ops that were there, only norms of BatchNorm and products with layer scale go."""
    model = build(small(name))
    resolution = model.arch.resolution

    def kinds(module: nn.Module) -> Counter[str]:
        return Counter(op.kind for op in trace(module, resolution=resolution).ops)

    plain, deployed = kinds(model), kinds(hvnas.deploy(model))
    norms = sum(isinstance(m, FOLDED[:2]) for m in model.modules())
    assert plain["norm"] - deployed["norm"] == norms > 0
    assert all(deployed[kind] == plain[kind] for kind in ("conv", "linear", "matmul", "softmax", "act"))


def test_the_model_itself_stays_and_the_copy_is_for_inference() -> None:
    model = build(small("mobilevit_xxs")).train()
    deployed = hvnas.deploy(model)
    assert model.training
    assert not deployed.training
    assert not any(parameter.requires_grad for parameter in deployed.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_features_are_deployed_too(randomise) -> None:
    model = hvnas.build(small("efficientvit_b0"), features_only=True)
    randomise(model)
    model.double().eval()
    x = image(model.arch, torch.float64)
    for wanted, got in zip(model(x), hvnas.deploy(model)(x), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.fixture
def norm(randomise) -> nn.Module:
    """A BatchNorm of four channels."""
    norm = nn.BatchNorm2d(4)
    randomise(norm)
    return norm.double().eval()


def test_a_norm_is_not_folded_into_a_kernel_with_padding(norm) -> None:
    """At the border the kernel reads zeros, not what the norm makes of zeros."""
    conv = nn.Conv2d(4, 4, 3, padding=1).double()
    before = conv.weight.clone()
    assert into_next(norm, conv) is norm
    assert torch.equal(conv.weight, before)


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 1, stride=2, bias=False), nn.Conv2d(4, 6, 1)])
def test_a_norm_is_folded_into_the_1x1_after_it(layer: nn.Conv2d, norm) -> None:
    conv = layer.double()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        wanted = conv(norm(x))
        assert isinstance(into_next(norm, conv), nn.Identity)
        torch.testing.assert_close(conv(x), wanted)


def test_a_norm_is_folded_into_grouped_and_strided_kernels_before_it(norm) -> None:
    conv = nn.Conv2d(8, 4, 3, stride=2, padding=1, groups=4).double()
    x = torch.randn(2, 8, 7, 7, dtype=torch.float64)
    with torch.no_grad():
        wanted = norm(conv(x))
        assert isinstance(into_previous(norm, conv), nn.Identity)
        torch.testing.assert_close(conv(x), wanted)


def test_norms_over_more_than_a_channel_stay() -> None:
    norm, conv = nn.GroupNorm(1, 4), nn.Conv2d(3, 4, 1)
    assert into_previous(norm, conv) is norm
