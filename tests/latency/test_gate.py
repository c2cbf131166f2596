"""Which networks lie inside the iPhone 12 gate, rule by rule, on the fixed points and on small programs."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.arch import load_arch
from hvnas.latency import Device, Rule
from hvnas.ops import Program, State, Tape, Value, evaluate_columns


def excluded(device: Device, program: Program) -> set[str]:
    arrays = device.latency_columns(evaluate_columns(device.columns, program)[None])
    return {name for name, who in arrays.excluded_by.items() if who[0]}


def program(tape: Tape, resolution: int = 224) -> Program:
    return Program(tuple(tape.ops), ("",) * len(tape.ops), resolution)


def small(resolution: int = 224) -> tuple[Tape, Value]:
    tape = Tape(State(map=(3, resolution, resolution)))
    return tape, tape.conv(tape.map, 16, kernel=3, stride=2)


def attention(tape: Tape, queries: int, keys: int) -> None:
    q, k, v = tape.embed((4, queries, 8)), tape.embed((4, 8, keys)), tape.embed((4, keys, 8))
    tape.matmul(tape.softmax(tape.matmul(q, k)), v)


@pytest.mark.parametrize(
    "name",
    "efficientformer_l1 efficientformer_l3 efficientformer_l7 poolformer_s12 poolformer_s36 "
    "efficientformerv2_s0 efficientformerv2_l coatnet_0_cccc".split(),
)
def test_inside(device: Device, name: str) -> None:
    estimate = device.latency(load_arch(name).lower())
    assert estimate.inside and not estimate.reasons


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("mobilevit_xs", {"attention", "switches", "returns", "swish"}),
        ("coatnet_0", {"attention"}),
        ("coatnet_1_dws", {"attention"}),
        ("vit_rel", {"attention", "patch_stem"}),
        ("poolformer_s12_silu", {"swish"}),
        ("efficientvit_l2@r288", {"input"}),
    ],
)
def test_outside(device: Device, name: str, rules: set[str]) -> None:
    network = load_arch(name).lower()
    estimate = device.latency(network)
    assert excluded(device, network) == rules
    assert not estimate.inside and len(estimate.reasons) == len(rules)


def test_published_networks(device: Device) -> None:
    """The verdict on every measured network, from the columns in the table."""
    names = [c.name for c in device.columns]
    rows = [row for row in device.rows if row.cohort == "A"]
    inside = device.latency_columns(np.array([[row.values[n] for n in names] for row in rows])).inside
    outside = {row.network for row, ok in zip(rows, inside, strict=True) if not ok}
    assert outside == {
        *("efficientnet_b0", "efficientnet_b1", "efficientnet_b3"),
        *("fastvit_sa12", "fastvit_sa24", "mobilevit_xs", "mobilevitv2_100"),
    }
    assert inside.sum() >= 24
    assert len({row.network for row, ok in zip(rows, inside, strict=True) if ok}) >= 24


@pytest.mark.parametrize(
    ("queries", "keys", "outside"),
    [(196, 196, True), (196, 49, True), (195, 196, False), (49, 196, False), (49, 49, False)],
)
def test_attention_counts_queries(device: Device, queries: int, keys: int, outside: bool) -> None:
    tape, _ = small()
    attention(tape, queries, keys)
    assert ("attention" in excluded(device, program(tape))) == outside


@pytest.mark.parametrize(("positions", "outside"), [(196, True), (49, False)])
def test_linear_attention_counts_positions(device: Device, positions: int, outside: bool) -> None:
    tape, _ = small()
    kv = tape.matmul(tape.embed((4, 17, positions)), tape.embed((4, positions, 16)))
    tape.matmul(kv, tape.embed((4, 16, positions)))
    assert excluded(device, program(tape)) == ({"attention"} if outside else set())


def test_one_switch_is_inside_two_are_not(device: Device) -> None:
    tape, x = small(32)
    tokens = tape.flatten(x)
    assert excluded(device, program(tape, 32)) == set()
    tape.flatten(tape.conv(x, 16))
    assert excluded(device, program(tape, 32)) == {"switches"}
    assert tokens.shape == (256, 16)


@pytest.mark.parametrize(("side", "outside"), [(8, False), (9, True)])
def test_return_over_64_tokens(device: Device, side: int, outside: bool) -> None:
    tape = Tape(State(map=(3, 2 * side, 2 * side)))
    x = tape.conv(tape.map, 16, kernel=3, stride=2)
    tape.unflatten(tape.flatten(x), (side, side))
    assert excluded(device, program(tape)) == ({"returns"} if outside else set())


@pytest.mark.parametrize("act", ["silu", "hardswish", "gelu", "relu"])
@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_swish_on_maps(device: Device, act: str, norm: str) -> None:
    tape, x = small()
    tape.conv(tape.act(tape.norm(x, norm), act), 32)
    assert ("swish" in excluded(device, program(tape))) == (act in ("silu", "hardswish"))


def test_squeeze_excitation_may_use_silu(device: Device) -> None:
    tape, x = small()
    gate = tape.act(tape.conv(tape.mean(x), 4, bias=True), "silu")
    tape.mul(x, tape.act(tape.conv(gate, 16, bias=True), "sigmoid"))
    assert excluded(device, program(tape)) == set()


@pytest.mark.parametrize(("kernel", "stride", "groups", "outside"), [(16, 16, 1, True), (14, 14, 1, False)])
def test_patch_stem(device: Device, kernel: int, stride: int, groups: int, outside: bool) -> None:
    tape = Tape(State(map=(3, 224, 224)))
    tape.conv(tape.map, 192, kernel=kernel, stride=stride, groups=groups, padding=0)
    assert excluded(device, program(tape)) == ({"patch_stem"} if outside else set())


def test_large_depthwise_kernel_is_no_patch_stem(device: Device) -> None:
    tape, x = small()
    tape.conv(x, 16, kernel=31, groups=16)
    assert excluded(device, program(tape)) == set()


@pytest.mark.parametrize(("resolution", "outside"), [(224, False), (256, False), (257, True), (288, True)])
def test_input(device: Device, resolution: int, outside: bool) -> None:
    tape, _ = small(resolution)
    assert excluded(device, program(tape, resolution)) == ({"input"} if outside else set())


def test_every_rule_has_evidence_and_a_sentence(device: Device) -> None:
    assert [rule.name for rule in device.rules] == [
        *("attention", "switches", "returns", "swish", "patch_stem", "input"),
    ]
    for rule in device.rules:
        assert "ms" in rule.evidence and "{value}" in rule.says
    with pytest.raises(ValueError, match="exactly one of above and at_least"):
        Rule(name="x", column="macs", says="", evidence="e", above=1, at_least=1)
    with pytest.raises(ValueError, match=r"unknown latency column 'mac'; nearest of \d+: macs,"):
        Rule(name="x", column="mac", says="", evidence="e", above=1)
