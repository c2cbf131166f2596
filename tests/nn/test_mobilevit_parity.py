"""MobileViT computes what timm's computes."""

from __future__ import annotations

import pytest
import torch

from hvnas.arch import load_arch

timm = pytest.importorskip("timm")


NAMES = ["mobilevit_xxs", "mobilevit_xs", "mobilevit_s"]


@pytest.mark.parametrize("name", NAMES)
def test_parity_in_float32(name: str, parity) -> None:
    parity(timm.create_model(name), load_arch(name), torch.float32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [96, pytest.param(256, marks=pytest.mark.slow)])
def test_parity_in_float64(name: str, size: int, parity) -> None:
    """At 96 pixels the last map is 3 x 3, which patches of 2 do not divide."""
    parity(timm.create_model(name), load_arch(name), torch.float64, size=size)


@pytest.mark.parametrize("name, patches", [("mobilevit_s_p3", (3, 3, 3)), ("mobilevit_xs_p842", (8, 4, 2))])
def test_parity_of_the_patch_ablations(name: str, patches: tuple[int, ...], parity) -> None:
    """timm has the patch as an attribute of the block, not as a model of its own."""
    theirs = timm.create_model(name.rpartition("_")[0])
    for stage, patch in zip(theirs.stages[2:], patches, strict=True):
        stage[1].patch_size, stage[1].patch_area = (patch, patch), patch**2
    parity(theirs, load_arch(name), torch.float64, size=128)
