"""MACs against fvcore and torch's FlopCounterMode: equal, but for attention products that they miss.

Both see `scaled_dot_product_attention` as one operation on a CPU, and neither counts it there. On the meta
device it falls apart into matrix products, which FlopCounterMode counts: then the two agree.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hvnas.arch import Arch, load_arch
from hvnas.nn import build, build_on_meta
from hvnas.ops import Program

FUSED = ("vit_p_1gf", "coatnet_0", "mobilevit_xxs")  # their modules call scaled_dot_product_attention
WRITTEN_OUT = ("efficientformer_l1", "efficientvit_b0", "efficientformerv2_s0")
NO_PRODUCTS = ("poolformer_s12",)


def small(name: str) -> Arch:
    return load_arch(name).shrunk().with_(resolution=64)


def torch_macs(model: nn.Module, *, device: str = "cpu") -> int:
    """Half of the flops that torch counts."""
    counter = FlopCounterMode(display=False)
    model.eval().requires_grad_(False)
    with counter:
        model(torch.zeros(1, 3, 64, 64, device=device))
    return int(counter.get_total_flops()) // 2


def fvcore_macs(model: nn.Module) -> Counter[str]:
    """What fvcore counts by operator."""
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analysis = FlopCountAnalysis(model.eval(), torch.zeros(1, 3, 64, 64))
        analysis.unsupported_ops_warnings(False).tracer_warnings("none")
        return Counter(analysis.by_operator())


def macs(program: Program, *kinds: str) -> int:
    return sum(op.macs for op in program.ops if op.kind in kinds)


@pytest.mark.parametrize("name", [*FUSED, *WRITTEN_OUT, *NO_PRODUCTS, "mobileformer_26m"])
def test_torch_agrees_on_meta(name: str) -> None:
    model = build_on_meta(small(name))
    assert torch_macs(model, device="meta") == small(name).lower().macs


@pytest.mark.parametrize("name", [*WRITTEN_OUT, *NO_PRODUCTS])
def test_torch_agrees_on_a_cpu_where_attention_is_written_out(name: str) -> None:
    assert torch_macs(build(small(name))) == small(name).lower().macs


@pytest.mark.parametrize("name", FUSED)
def test_torch_misses_fused_attention_on_a_cpu(name: str) -> None:
    program = small(name).lower()
    products = macs(program, "matmul")
    assert products > 0
    assert torch_macs(build(small(name))) == program.macs - products


def test_torch_counts_attention_on_a_cpu_once_it_falls_apart() -> None:
    with sdpa_kernel(SDPBackend.MATH):
        assert torch_macs(build(small("vit_p_1gf"))) == small("vit_p_1gf").lower().macs


@pytest.mark.parametrize("name", [*FUSED, *WRITTEN_OUT, *NO_PRODUCTS])
def test_fvcore_counts_the_same_convolutions_and_linear_layers(name: str) -> None:
    program, counted = small(name).lower(), fvcore_macs(build(small(name)))
    assert counted["conv"] == macs(program, "conv")
    assert counted["linear"] == macs(program, "linear")
    # It also counts norms and interpolation, which are no multiply-accumulates of ours.
    extra = {"conv", "linear", "matmul"}
    assert set(counted) - extra <= {"batch_norm", "layer_norm", "group_norm", "upsample_bilinear2d"}


@pytest.mark.parametrize("name", FUSED)
def test_fvcore_misses_fused_attention(name: str) -> None:
    assert macs(small(name).lower(), "matmul") > 0
    assert fvcore_macs(build(small(name)))["matmul"] == 0


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_fvcore_counts_attention_that_is_written_out(name: str) -> None:
    assert fvcore_macs(build(small(name)))["matmul"] == macs(small(name).lower(), "matmul")
