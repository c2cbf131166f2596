"""EfficientFormer computes what timm's computes, and reads the authors' names."""

from __future__ import annotations

import re

import pytest
import torch

from hvnas.arch import load_arch
from hvnas.nn.foreign import converter

timm = pytest.importorskip("timm")

SMALL = "efficientformer_l1"
LARGE = [pytest.param(f"efficientformer_l{size}", marks=pytest.mark.slow) for size in (3, 7)]


@pytest.mark.parametrize("name", [SMALL, *LARGE])
def test_parity(name: str, parity) -> None:
    parity(timm.create_model(name), load_arch(name), torch.float32, torch.float64)


def as_official(key: str) -> str:
    """The authors' name of a tensor of timm's: stages and what is between them in one list."""
    key = re.sub(r"^stages\.(\d)\.blocks\.", lambda m: f"network.{2 * int(m[1])}.", key)
    key = re.sub(r"^stages\.(\d)\.downsample\.conv\.", lambda m: f"network.{2 * int(m[1]) - 1}.proj.", key)
    key = re.sub(r"^stages\.(\d)\.downsample\.norm\.", lambda m: f"network.{2 * int(m[1]) - 1}.norm.", key)
    for ours, theirs in (("conv1", 0), ("norm1", 1), ("conv2", 3), ("norm2", 4)):
        key = key.replace(f"stem.{ours}.", f"patch_embed.{theirs}.")
    return re.sub(r"\.ls(\d)\.gamma", r".layer_scale_\1", key).replace("head_dist", "dist_head")


@pytest.mark.parametrize("name", ["efficientformer_l1", "efficientformer_l7"])
def test_the_authors_names(name: str) -> None:
    """timm's own reader of the authors' checkpoints undoes `as_official`; ours gives the same tensors."""
    from timm.models.efficientformer import checkpoint_filter_fn

    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    official = {as_official(key): tensor for key, tensor in state.items()}
    assert any(key.startswith("network.5.proj") for key in official)
    # timm recognises a stage by its convolution, which the authors register before all else of it
    assert {key: id(tensor) for key, tensor in checkpoint_filter_fn(official, None).items()} == {
        key: id(tensor) for key, tensor in state.items()
    }
    arch = load_arch(name)
    ours = converter("official", "efficientformer")(official, arch)
    same = converter("timm", "efficientformer")(state, arch)
    assert {key: id(tensor) for key, tensor in ours.items()} == {key: id(t) for key, t in same.items()}
