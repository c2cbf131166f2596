"""Which products of fused Programs are told as attention that one kernel can do."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hvnas.arch import load_arch
from hvnas.ops import Column, Op, Program, evaluate_columns, fuse
from hvnas.space import FastPath, load_space

HEADS, N, D = 2, 9, 8
SCORES, VALUES = (HEADS, N, N), (HEADS, N, D)


def marks(ops: tuple[Op, ...]) -> list[str]:
    return [op.variant for op, _ in fuse(ops)]


def attention(*, rows: int = N, wide: int = D) -> list[Op]:
    """Queries, keys and values, the scores, a softmax and the sums."""
    scores = (HEADS, rows, N)
    return [
        Op("embed", VALUES, VALUES, (), weights=HEADS * N * D),
        Op("matmul", (HEADS, rows, D), scores, (0, 0)),
        Op("softmax", scores, scores, (1,)),
        Op("matmul", scores, (HEADS, rows, wide), (2, 0)),
    ]


def with_bias(ops: list[Op]) -> list[Op]:
    bias = Op("bias", SCORES, SCORES, (1,), weights=HEADS * N * N)
    return [*ops[:2], bias, ops[2]._replace(inputs=(2,)), ops[3]._replace(inputs=(3, 0))]


def test_plain_and_with_a_bias() -> None:
    assert marks((*attention(),)) == ["", "inner", "inner", "attention"]
    assert marks((*with_bias(attention()),)) == ["", "inner", "inner", "inner", "masked_attention"]


@pytest.mark.parametrize(
    "ops",
    [
        attention(wide=4 * D),  # values wider than keys
        attention(rows=4),  # fewer queries than keys
        [*attention(), Op("add", SCORES, SCORES, (1, 2))],  # the scores are read again
        [*attention()[:3], Op("act", SCORES, SCORES, (2,), variant="relu")],  # no sum follows
        [*attention()[:3], attention()[3]._replace(inputs=(0, 2))],  # the softmax is the second operand
        [Op("embed", SCORES, SCORES, ()), Op("softmax", SCORES, SCORES, (0,))],  # of no product
    ],
)
def test_what_no_kernel_does_is_not_marked(ops: list[Op]) -> None:
    assert set(marks((*ops,))) <= {"", "relu"}


def test_a_convolution_between_scores_and_softmax() -> None:
    ops = attention()
    talk = Op("conv", SCORES, SCORES, (1,), kernel=(1, 1))
    talking = [*ops[:2], talk, ops[2]._replace(inputs=(2,)), ops[3]._replace(inputs=(3, 0))]
    assert set(marks((*talking,))) == {""}


def marked(name: str) -> Counter[str]:
    ops = load_arch(name).lower().fused().ops
    return Counter(op.variant for op in ops if op.kind in ("matmul", "softmax", "bias") and op.variant)


@pytest.mark.parametrize(
    ("name", "attentions"),
    [
        ("vit_c_1gf", {"attention"}),
        ("mobilevit_xxs", {"attention"}),
        ("coatnet_0", {"masked_attention"}),
        ("efficientformer_l1", set()),  # values are four times as wide as keys
        ("efficientformerv2_s0", set()),  # heads talk between scores and softmax
        ("poolformer_s12", set()),
    ],
)
def test_models(name: str, attentions: set[str]) -> None:
    found = marked(name)
    assert set(found) == (attentions | {"inner"} if attentions else set())
    if attentions:
        softmaxes = sum(op.kind == "softmax" for op in load_arch(name).lower().ops)
        (kind,) = attentions
        assert found[kind] == softmaxes
        assert found["inner"] == softmaxes * (3 if kind == "masked_attention" else 2)


def test_cross_attention_is_not_marked() -> None:
    arch = load_arch("mobileformer_52m")
    ops = arch.lower().fused().ops
    for op in ops:
        if op.kind == "softmax" and op.shape_in[-1] != op.shape_in[-2]:
            assert not op.variant
    assert any(op.kind == "softmax" and not op.variant for op in ops)


def test_a_bias_behind_the_softmax_is_no_mask() -> None:
    scores, values = with_bias(attention())[1], VALUES
    ops = (
        attention()[0],
        scores,
        Op("softmax", SCORES, SCORES, (1,)),
        Op("bias", SCORES, SCORES, (2,), weights=HEADS * N * N),
        Op("matmul", SCORES, values, (3, 0)),
    )
    assert set(marks(ops)) == {""}


def test_marks_are_of_the_deployed_form_alone() -> None:
    plain = load_arch("vit_c_1gf").lower()
    fused = plain.fused()
    assert not any(op.variant in ("attention", "inner") for op in plain.ops)
    assert fused.fused().ops == fused.ops and fused.macs == plain.macs
    assert Counter(op.kind for op in fused.ops)["softmax"] == Counter(op.kind for op in plain.ops)["softmax"]


def marked_count(op: Op) -> float | None:
    return float(op.variant in ("attention", "masked_attention")) + 100 * float(op.variant == "inner")


@pytest.mark.parametrize("name", ["vit", "coatnet", "mobileformer", "hybrid-mobile"])
def test_blocks_by_themselves_are_marked_as_in_networks(name: str) -> None:
    space = load_space(name)
    columns = [Column("marked", "sum", marked_count, fused=True)]
    rows = space.sample(6, rng=np.random.default_rng(3))
    programs: list[Program] = [space.decode(row).lower() for row in rows]
    expected = np.stack([evaluate_columns(columns, program) for program in programs])
    assert (FastPath(space, columns)(rows) == expected).all()


@pytest.mark.parametrize("kind", ["softmax", "bias"])
def test_a_softmax_of_what_no_op_wrote_is_not_marked(kind: str) -> None:
    start = Op(kind, SCORES, SCORES, (), weights=HEADS * N * N if kind == "bias" else 0)
    ops = [start] if kind == "softmax" else [start, Op("softmax", SCORES, SCORES, (0,))]
    product = Op("matmul", SCORES, VALUES, (len(ops) - 1,))
    assert marks((*ops, product)) == [""] * (len(ops) + 1)
