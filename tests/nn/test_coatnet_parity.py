"""CoAtNet computes what timm's computes: the strided-depthwise form, the paper's form, the layouts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hvnas.arch import Arch, load_arch

timm = pytest.importorskip("timm")

# timm strides in the depthwise convolution and pools by averages; the paper does as these flags say
PAPER = {"conv_stride_mode": "1x1", "conv_pool_type": "max2", "transformer_pool_type": "max2"}
SIZES = [0, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 2, 3))]
DTYPES = [torch.float32, torch.float64]
# of the images: what is compared is the same at any size that five strides divide
SIDE = 128


def ours(name: str) -> Arch:
    return replace(load_arch(name), resolution=SIDE)


@pytest.mark.parametrize("size", SIZES)
def test_parity_of_the_strided_depthwise_form(size: int, parity) -> None:
    parity(timm.create_model(f"coatnet_{size}_224", img_size=SIDE), ours(f"coatnet_{size}_dws"), *DTYPES)


@pytest.mark.parametrize("size", SIZES)
def test_parity_of_the_papers_form(size: int, parity) -> None:
    theirs = timm.create_model(f"coatnet_{size}_224", img_size=SIDE, **PAPER)
    parity(theirs, ours(f"coatnet_{size}"), *DTYPES)


@pytest.mark.parametrize("layout", ["CCCC", "CCCT", "CTTT"])
def test_parity_of_the_layouts(layout: str, parity) -> None:
    theirs = timm.create_model("coatnet_0_224", block_type=tuple(layout), img_size=SIDE, **PAPER)
    parity(theirs, ours(f"coatnet_0_{layout.lower()}"), torch.float64)
