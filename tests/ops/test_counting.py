"""Counting rules: each published figure under its own rule, and the counters they imitate."""

from __future__ import annotations

import pytest

from hvnas.arch import list_models, load_arch
from hvnas.nn import build
from hvnas.ops import Op, Program
from hvnas.ops.counting import count_macs, list_macs_rules

# GMACs that toolbox.py prints, to its four decimals.
TOOLBOX = {
    "efficientformer_l1": 1.3001,
    "efficientformer_l3": 3.9258,
    "efficientformer_l7": 10.1590,
    "efficientformerv2_s0": 0.3961,
    "efficientformerv2_s1": 0.6523,
    "efficientformerv2_s2": 1.2474,
    "efficientformerv2_l": 2.5534,
}
# GMACs that fvcore prints for the authors' code.
FVCORE = {
    "poolformer_s12": 1.8227,
    "poolformer_s24": 3.4129,
    "poolformer_s36": 5.0031,
    "poolformer_m36": 8.8019,
    "poolformer_m48": 11.5907,
    "poolformer_s12_id": 1.8227,
    "poolformer_s12_pppa": 1.9199,
    "poolformer_s12_ppaa": 2.5492,
    "poolformer_s12_pppf": 1.8251,
    "poolformer_s12_ppff": 1.8989,
}
# MMACs with two per element of a dynamic ReLU; they stay within 2 M of the paper's names.
DYNAMIC = {"mobileformer_26m": 23.550 + 2 * 0.818, "mobileformer_294m": 286.732 + 2 * 2.879}


@pytest.mark.parametrize("name", TOOLBOX)
def test_toolbox_to_the_printed_digit(name: str) -> None:
    assert round(count_macs(load_arch(name).lower(), "efficientformer_toolbox") / 1e9, 4) == TOOLBOX[name]


@pytest.mark.parametrize("name", FVCORE)
def test_fvcore_to_the_printed_digit(name: str) -> None:
    assert round(count_macs(load_arch(name).lower(), "fvcore") / 1e9, 4) == FVCORE[name]


@pytest.mark.parametrize("name", ["poolformer_s12", "poolformer_s12_bn", "poolformer_s12_ppff"])
def test_fvcore_as_fvcore_counts_our_module(name: str) -> None:
    torch = pytest.importorskip("torch")
    analysis = pytest.importorskip("fvcore.nn").FlopCountAnalysis(
        build(load_arch(name)).eval(), torch.zeros(1, 3, 224, 224)
    )
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    ours = count_macs(load_arch(name).lower(), "fvcore")
    # fvcore has the pooling of the head beside what the rule counts, where a module does it
    assert analysis.total() == pytest.approx(ours, rel=1e-4)


@pytest.mark.parametrize("name", DYNAMIC)
def test_dynamic_relu(name: str) -> None:
    macs = count_macs(load_arch(name).lower(), "conv_linear_matmul_dyrelu")
    assert macs / 1e6 == pytest.approx(DYNAMIC[name], abs=2e-3)
    assert macs / 1e6 == pytest.approx(float(name.split("_")[1].removesuffix("m")), abs=2)


def test_without_attention_products() -> None:
    program = load_arch("mobilevit_xs").with_(resolution=224).lower()
    products = sum(op.macs for op in program.ops if op.kind == "matmul")
    assert products > 0
    assert count_macs(program, "conv_linear") == count_macs(program, "conv_linear_matmul") - products
    assert round(count_macs(program, "conv_linear") / 1e9, 4) == 0.7032


def program_of(*ops: Op) -> Program:
    return Program(ops, ("",) * len(ops), 14)


def test_what_each_rule_adds() -> None:
    """On a map of 8 x 7 x 7, element by element."""
    shape = (8, 7, 7)
    one = {
        "norm ln": Op("norm", shape, shape, (-1,), variant="ln"),
        "norm gn": Op("norm", shape, shape, (-1,), variant="gn"),
        "norm bn": Op("norm", shape, shape, (-1,), variant="bn"),
        "gelu": Op("act", shape, shape, (-1,), variant="gelu"),
        "relu": Op("act", shape, shape, (-1,), variant="relu"),
        "pool": Op("pool", shape, shape, (-1,), kernel=(3, 3), variant="avg"),
        "mean": Op("pool", shape, (8, 1, 1), (-1,), variant="mean"),
        "norm of tokens": Op("norm", (49, 8), (49, 8), (-1,), variant="ln"),
    }
    extra = {
        rule: {name: macs for name, op in one.items() if (macs := count_macs(program_of(op), rule))}
        for rule in list_macs_rules()
    }
    assert extra["fvcore"] == {"norm gn": 5 * 392, "norm bn": 2 * 392, "norm of tokens": 5 * 392}
    assert extra["efficientformer_toolbox"] == {
        "norm ln": 2 * 56,
        "gelu": 56,
        "pool": 9 * 392,
        "norm of tokens": 2 * 392,
    }
    assert not any(extra[rule] for rule in ("conv_linear", "conv_linear_matmul", "conv_linear_matmul_dyrelu"))


def test_every_model_names_a_rule_that_is_there() -> None:
    rules = {(load_arch(name).published or {}).get("macs_rule") for name in list_models()} - {None}
    assert rules <= set(list_macs_rules())


def test_an_unknown_rule_lists_the_rules() -> None:
    with pytest.raises(ValueError, match=r"unknown macs_rule 'fvcor'; did you mean 'fvcore'\?.*conv_linear"):
        count_macs(program_of(), "fvcor")
