"""The whole network: every fixed point in small, weights in and out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hvnas.arch import Arch, list_models, load_arch
from hvnas.nn import Network, build, build_on_meta
from hvnas.nn.base import DropPath


def small(name: str) -> Arch:
    """A fixed point in small, on images of 64 pixels."""
    return load_arch(name).shrunk().with_(resolution=64)


def image(arch: Arch, *, batch: int = 2) -> Tensor:
    size = arch.resolution
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def snapshot(model: Network) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", list_models())
def test_every_fixed_point_builds_and_runs(name: str) -> None:
    arch = small(name)
    model = build(arch).eval()
    assert sum(p.numel() for p in model.parameters()) == arch.lower().params
    with torch.no_grad():
        logits = model(image(arch))
        assert logits.shape == (2, 10)
        assert logits.isfinite().all()
        # Not a constant, and each image by itself.
        assert not torch.equal(logits[0], logits[1])
        alone = model(image(arch)[:1])
    torch.testing.assert_close(alone, logits[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["coatnet_0", "efficientformer_l1", "mobileformer_26m", "vit_p_1gf"])
def test_weights_round_trip(name: str, tmp_path: Path) -> None:
    arch = small(name)
    torch.manual_seed(1)
    model = build(arch)
    model.train()(image(arch))  # so that the statistics of the norms differ from their initial values
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.manual_seed(2)
    fresh = build(arch).eval()
    again = build(arch, weights=tmp_path / "model.safetensors").eval()
    x = image(arch)
    with torch.no_grad():
        wanted = model.eval()(x)
        assert torch.equal(again(x), wanted)
        assert not torch.equal(fresh(x), wanted)


def test_weights_of_another_network_are_listed_and_not_loaded(tmp_path: Path) -> None:
    from hvnas.nn.weights import load_weights

    theirs, arch = build(small("efficientformer_l1")), small("efficientformer_l3")
    path = tmp_path / "l1.safetensors"
    save_file(theirs.state_dict(), path)
    ours = build(arch)
    before = snapshot(ours)
    with pytest.raises(ValueError) as caught:
        load_weights(ours, path)
    message = str(caught.value)
    assert "\n" not in message
    assert "l1.safetensors: these weights are of another network: " in message
    assert "missing: stages.3.global_.1." in message
    assert "mis-shaped: " in message and " for (" in message
    after = ours.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())


def test_unexpected_and_missing_keys_are_counted(tmp_path: Path) -> None:
    arch = small("efficientformer_l1")
    state = build(arch).state_dict()
    del state["stem.conv1.conv.weight"]
    state["extra.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "other.safetensors")
    expected = "1 missing: stem.conv1.conv.weight; 1 unexpected: extra.weight$"
    with pytest.raises(ValueError, match=expected):
        build(arch, weights=tmp_path / "other.safetensors")


def test_another_number_of_classes(tmp_path: Path) -> None:
    arch = small("vit_p_1gf")
    save_file(build(arch).state_dict(), tmp_path / "ten.safetensors")
    expected = "its classifier has 10 classes, the network 7; build the network for 10: "
    with pytest.raises(ValueError, match=expected):
        build(arch.with_(classes=7), weights=tmp_path / "ten.safetensors")


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 64, b"\x80\x04\x95"])
def test_unreadable_weights(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.safetensors: not a readable safetensors file"):
        build(small("vit_p_1gf"), weights=path)


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.safetensors: not a readable safetensors file"):
        build(small("vit_p_1gf"), weights=tmp_path / "none.safetensors")


def test_drop_path_grows_linearly_over_the_blocks() -> None:
    arch = small("poolformer_s12")  # four stages of two blocks
    model = build(arch, drop_path=0.7)
    rates = [module.rate for module in model.modules() if isinstance(module, DropPath)]
    assert sorted(set(rates)) == pytest.approx([i / 10 for i in range(8)])
    assert rates == sorted(rates)
    assert not any(module.rate for module in build(arch).modules() if isinstance(module, DropPath))


def test_meta_networks_take_no_memory() -> None:
    model = build_on_meta(load_arch("coatnet_7"))
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert sum(p.numel() for p in model.parameters()) == load_arch("coatnet_7").lower().params


def test_modules_are_named_as_the_parts() -> None:
    arch = small("efficientformer_l1")
    model = build(arch)
    names = dict(model.named_modules())
    for label, _ in arch.parts():
        assert label.replace("global", "global_") in names
