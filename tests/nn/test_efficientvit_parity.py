"""EfficientViT computes what timm's computes, its epsilons set to the authors'.

timm adds 1e-5 to the denominator of its attention where the authors add 1e-15, and in the L models
keeps the BatchNorm of the head at 1e-5 where theirs is at 1e-7. It also computes attention in
float32 whatever comes in; for float64 that is undone here.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hvnas.arch import load_arch
from hvnas.nn import build
from hvnas.nn.foreign import converter

timm = pytest.importorskip("timm")

SMALL = ["efficientvit_b0", "efficientvit_b1"]
LARGE = ["efficientvit_b2", "efficientvit_b3", "efficientvit_l1", "efficientvit_l2"]
EVERY = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]


def with_the_authors_epsilons(name: str) -> nn.Module:
    from timm.models.efficientvit_mit import LiteMLA

    model = timm.create_model(name)
    for module in model.modules():
        if isinstance(module, LiteMLA):
            module.eps = 1e-15
    if "_l" in name:
        model.head.in_conv.norm.eps = 1e-7
    return model


def attention_as_it_comes(self: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """timm's LiteMLA._attn without its casts."""
    y = q @ (k.transpose(-1, -2) @ v)
    return y[..., :-1] / (y[..., -1:] + self.eps)


@pytest.mark.parametrize("name", EVERY)
def test_parity_in_float32(name: str, parity) -> None:
    parity(with_the_authors_epsilons(name), load_arch(name), torch.float32)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("size", [64, pytest.param(224, marks=pytest.mark.slow)])
def test_parity_in_float64(name: str, size: int, parity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.models.efficientvit_mit.LiteMLA._attn", attention_as_it_comes)
    parity(with_the_authors_epsilons(name), load_arch(name), torch.float64, size=size)


def test_the_authors_tensors_go_over_in_order() -> None:
    """The authors' names differ from timm's, the order does not; so any names serve."""
    arch = load_arch("efficientvit_b0")
    theirs = timm.create_model("efficientvit_b0").state_dict()
    convert = converter("official", "efficientvit")
    weights = convert({f"tensor.{i}": tensor for i, tensor in enumerate(theirs.values())}, arch)
    assert all(
        torch.equal(tensor, converter("timm", "efficientvit")(theirs, arch)[name])
        for name, tensor in weights.items()
    )
    longer = convert(theirs | {"one.more": torch.zeros(1)}, arch)
    assert list(longer) == [*weights, "one.more"]


def test_no_head_of_zeros_divides_by_zero() -> None:
    """Where every key is negative numerator and denominator are zero, and so is what attention adds."""
    arch = load_arch("efficientvit_b0").with_(resolution=64)
    model = build(arch).eval()
    for module in model.modules():
        if hasattr(module, "gather"):
            nn.init.zeros_(module.qkv.weight)
    with torch.no_grad():
        assert torch.isfinite(model(torch.randn(1, 3, 64, 64))).all()
