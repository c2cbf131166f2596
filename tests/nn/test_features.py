"""build(features_only=True): the maps at strides 4 to 32."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import hvnas
from hvnas.arch import Arch, load_arch
from hvnas.nn import build

PYRAMIDS = [
    "efficientformer_l1",
    "efficientformerv2_s0",
    "poolformer_s12",
    "poolformer_s12_ppaa",
    "coatnet_0",
    "mobilevit_xxs",
    "efficientvit_b0",
    "efficientvit_l1",
    "mobileformer_26m",
]
FREE = ["poolformer_s12", "mobilevit_xxs", "efficientvit_b0", "mobileformer_26m"]


def small(name: str) -> Arch:
    return load_arch(name).shrunk()


@pytest.mark.parametrize("name", PYRAMIDS)
def test_a_map_at_every_stride(name: str) -> None:
    model = hvnas.build(small(name), features_only=True).eval()
    size = model.arch.resolution
    assert model.strides == (4, 8, 16, 32)
    maps = model(torch.randn(2, 3, size, size))
    wanted = [(2, c, size // s, size // s) for c, s in zip(model.channels, model.strides, strict=True)]
    assert [tuple(map_.shape) for map_ in maps] == wanted
    assert model.channels == tuple(stage.width for stage in model.arch.stages[-4:])


@pytest.mark.parametrize("name", ["poolformer_s12", "coatnet_0", "efficientvit_b0"])
def test_the_last_map_is_what_the_head_is_given(name: str) -> None:
    arch = small(name)
    torch.manual_seed(0)
    network = build(arch).eval()
    model = build(arch, features_only=True).eval()
    model.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("head.")})
    x = torch.randn(1, 3, arch.resolution, arch.resolution)
    assert torch.equal(model(x)[-1], network.forward_features(x))


def test_tokens_are_laid_out_as_a_map() -> None:
    """EfficientFormer ends in tokens: position (y, x) is token 7 y + x."""
    arch = small("efficientformer_l1")
    network = build(arch).eval()
    model = build(arch, features_only=True).eval()
    model.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("head.")})
    x = torch.randn(1, 3, 224, 224)
    tokens = network.forward_features(x)
    assert tokens.shape[1] == 49
    torch.testing.assert_close(model(x)[-1][0, :, 2, 3], tokens[0, 2 * 7 + 3])


def test_the_class_token_is_no_part_of_the_map() -> None:
    arch = small("vit_c_1gf")
    network = build(arch).eval()
    model = build(arch, features_only=True).eval()
    assert model.strides == (16,)
    model.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("head.")})
    x = torch.randn(1, 3, 224, 224)
    (map_,) = model(x)
    assert map_.shape == (1, *model.channels, 14, 14)
    torch.testing.assert_close(map_[0, :, 0, 1], network.forward_features(x)[0, 2])


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("size", [(96, 160), (75, 101)])
def test_other_sizes(name: str, size: tuple[int, int]) -> None:
    model = hvnas.build(small(name), features_only=True).eval()
    at_first = model(torch.ones(1, 3, 224, 224))
    maps = model(torch.randn(1, 3, *size))
    for map_, channels, stride in zip(maps, model.channels, model.strides, strict=True):
        assert map_.shape[1] == channels
        assert all(abs(got - whole / stride) <= 1 for got, whole in zip(map_.shape[2:], size, strict=True))
    again = model(torch.ones(1, 3, 224, 224))
    assert all(map(torch.equal, at_first, again))


def test_tokens_without_positions_are_laid_out_at_other_sizes() -> None:
    """Attention of PoolFormer's hybrid makes tokens of the map; without a position map any size goes."""
    arch = small("poolformer_s12_ppaa")
    first, *others = arch.stages
    free = [replace(stage, downsample=stage.downsample.with_(position=False)) for stage in others]
    model = build(replace(arch, stages=(first, *free)), features_only=True).eval()
    maps = model(torch.randn(1, 3, 96, 160))
    assert [tuple(map_.shape[2:]) for map_ in maps] == [(24, 40), (12, 20), (6, 10), (3, 5)]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("efficientformer_l1", r"stages.3.global.0 \(mb3d\)"),
        ("efficientformerv2_s0", r"stages.2.global.0 \(attn4d\)"),
        ("poolformer_s12_ppaa", r"stages.2.downsample \(conv_down\)"),
        ("poolformer_s12_random", r"poolformer\)"),
        ("coatnet_0", r"stages.2.global.0 \(coat_transformer\)"),
        ("vit_c_1gf", r"stages.0.downsample \(token_embed\)"),
    ],
)
def test_weights_tied_to_a_grid_are_named(name: str, part: str) -> None:
    model = build(small(name), features_only=True).eval()
    with pytest.raises(ValueError, match=rf"256 x 192: .*{part}.*tied to a map of"):
        model(torch.zeros(1, 3, 256, 192))
    assert model(torch.zeros(1, 3, 224, 224))[-1].shape[0] == 1


def test_a_grid_of_as_many_positions_is_another_grid() -> None:
    model = build(small("coatnet_0"), features_only=True)
    with pytest.raises(ValueError, match="28 x 28, and here it is 4 x 196"):
        model(torch.zeros(1, 3, 32, 1568))


def test_constraints_of_blocks_are_named() -> None:
    model = build(small("coatnet_0"), features_only=True)
    with pytest.raises(ValueError, match=r"input 225 x 224: .*divisible"):
        model(torch.zeros(1, 3, 225, 224))


def test_relative_bias_is_built_at_the_resolution() -> None:
    model = build(small("coatnet_0").with_(resolution=256), features_only=True)
    assert model(torch.zeros(1, 3, 256, 256))[-1].shape[2:] == (8, 8)


def test_weights_of_a_classifier_serve(tmp_path: Path) -> None:
    """Of any number of classes: the head is not read."""
    arch = small("mobilevit_xxs")
    network = build(arch.with_(classes=7))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    model = build(arch, features_only=True, weights=tmp_path / "w.safetensors")
    state = network.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_a_network_without_such_maps_is_refused() -> None:
    arch = small("vit_c_1gf")
    stem = arch.stem.with_(strides=(4, 4, 2, 2))
    with pytest.raises(ValueError, match="strides 64 only"):
        build(replace(arch, stem=stem), features_only=True)


def test_the_example_of_dense_prediction_trains(
    repo_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(repo_root / "scripts")
    example = importlib.import_module("dense_prediction")
    example.main(["--steps", "2", "--batch", "4", "--resolution", "32"])
    before, after = capsys.readouterr().out.splitlines()
    assert before.startswith("before: 0.") and after.startswith("after:  0.")
