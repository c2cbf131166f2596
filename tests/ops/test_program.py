"""Programs: equality, totals, live memory, and the deployed form."""

from __future__ import annotations

from hvnas.ops import Op, Program, State, Tape, fuse

MAP = (4, 8, 8)


def conv(*inputs: int, out: int = 4, bias: bool = False) -> Op:
    return Op("conv", MAP, (out, 8, 8), inputs, kernel=(3, 3), bias=bias)


def norm(*inputs: int, variant: str = "bn") -> Op:
    return Op("norm", MAP, MAP, inputs, variant=variant, weights=8)


def act(*inputs: int) -> Op:
    return Op("act", MAP, MAP, inputs, variant="relu")


def program(*ops: Op, resolution: int = 8) -> Program:
    return Program(ops, tuple(f"part{i}" for i in range(len(ops))), resolution)


def test_equality_is_of_multisets() -> None:
    a, b = conv(-1), norm(0)
    first = program(a, b)
    assert first == program(b, a)
    assert hash(first) == hash(program(b, a))
    assert first == Program((a, b), ("", ""), 999)
    assert first == program(a._replace(inputs=(5,)), b)
    assert first != program(a, b, b)
    assert first != program(a)
    assert first != "program"


def test_difference_goes_both_ways() -> None:
    left, right = program(conv(-1), norm(0), norm(1)), program(norm(-1), act(0))
    only_left, only_right = left.difference(right)
    assert only_left == {conv().key: 1, norm().key: 1}
    assert only_right == {act().key: 1}
    assert left.difference(left) == ({}, {})


def test_totals() -> None:
    whole = program(conv(-1, bias=True), norm(0), act(1))
    assert whole.params == 4 * 4 * 9 + 4 + 8
    assert whole.macs == 4 * 4 * 9 * 64
    assert whole.weight_bytes == 2 * 4 * 4 * 9
    assert whole.act_bytes == 2 * (256 + 256)


def test_peak_bytes_of_a_chain() -> None:
    # Image of 3 * 4 * 4 = 48 elements, then 32, 64, 16: the second op holds 32 + 64, the first 48 + 32.
    ops = (
        Op("conv", (3, 4, 4), (2, 4, 4), (-1,)),
        Op("conv", (2, 4, 4), (4, 4, 4), (0,)),
        Op("conv", (4, 4, 4), (1, 4, 4), (1,)),
    )
    assert program(*ops, resolution=4).peak_bytes == 4 * (32 + 64)


def test_peak_bytes_keeps_what_is_read_later() -> None:
    # 48 (image) -> a: 32 -> b: 64 -> c: 32 -> a + c; a lives to the end.
    ops = (
        Op("conv", (3, 4, 4), (2, 4, 4), (-1,)),
        Op("conv", (2, 4, 4), (4, 4, 4), (0,)),
        Op("conv", (4, 4, 4), (2, 4, 4), (1,)),
        Op("add", (2, 4, 4), (2, 4, 4), (0, 2)),
    )
    assert program(*ops, resolution=4).peak_bytes == 4 * (32 + 64 + 32)
    # Where the image is read at the end, it is there all along.
    skip = (*ops[:3], Op("concat", (2, 4, 4), (5, 4, 4), (2, -1)))
    assert program(*skip, resolution=4).peak_bytes == 4 * max(48 + 32 + 64, 48 + 64 + 32, 48 + 32 + 80)


def test_peak_bytes_frees_what_nobody_reads() -> None:
    ops = (
        Op("conv", (3, 4, 4), (2, 4, 4), (-1,)),  # read by nobody
        Op("conv", (3, 4, 4), (4, 4, 4), (-1,)),
    )
    assert program(*ops, resolution=4).peak_bytes == 4 * (48 + 64)


def test_conv_norm_act_is_one_op() -> None:
    fused = program(conv(-1), norm(0), act(1), conv(2)).fused()
    assert fused.ops == (conv(-1, bias=True)._replace(act="relu"), conv(0))
    assert fused.labels == ("part0", "part3")


def test_learned_scales_are_folded() -> None:
    scale = Op("scale", MAP, MAP, (0,), weights=4)
    assert program(conv(-1), scale).fused().ops == (conv(-1, bias=True),)


def test_what_two_ops_read_is_not_folded() -> None:
    ops = (conv(-1), act(0), Op("add", MAP, MAP, (0, 1)))
    assert program(*ops).fused().ops == ops


def test_only_batchnorm_folds_and_nothing_behind_an_activation() -> None:
    assert len(program(conv(-1), norm(0, variant="ln")).fused().ops) == 2
    assert len(program(conv(-1), act(0), norm(1)).fused().ops) == 2
    assert len(program(norm(-1), act(0)).fused().ops) == 2
    pool = Op("pool", MAP, MAP, (-1,), kernel=(3, 3), variant="avg")
    assert len(program(pool, norm(0)).fused().ops) == 2


def test_edges_are_renumbered() -> None:
    ops = (conv(-1), norm(0), conv(1), norm(2), Op("add", MAP, MAP, (1, 3)), act(4))
    fused = fuse(ops)
    assert [(op.kind, op.inputs) for op, _ in fused] == [
        ("conv", (-1,)),
        ("conv", (0,)),
        ("add", (0, 1)),
        ("act", (2,)),
    ]
    assert [origin for _, origin in fused] == [0, 2, 4, 5]


def test_fusing_keeps_macs_and_fusing_twice_changes_nothing() -> None:
    import hvnas

    for name in ("efficientformer_l1", "coatnet_0", "mobileformer_26m", "vit_c_1gf"):
        plain = hvnas.load_arch(name).lower()
        fused = plain.fused()
        assert fused.macs == plain.macs
        assert len(fused.ops) < len(plain.ops)
        assert fused.fused().ops == fused.ops
        assert all(source < i for i, op in enumerate(fused.ops) for source in op.inputs)


def test_tape_writes_shapes_and_edges() -> None:
    tape = Tape(State(map=(3, 8, 8)))
    x = tape.conv(tape.map, 4, kernel=3, stride=2)
    y = tape.act(tape.norm(x, "bn"), "relu")
    lowered = tape.finish(map=tape.add(x, y))
    assert [(op.kind, op.inputs, op.shape_out) for op in lowered.ops] == [
        ("conv", (-1,), (4, 4, 4)),
        ("norm", (0,), (4, 4, 4)),
        ("act", (1,), (4, 4, 4)),
        ("add", (0, 2), (4, 4, 4)),
    ]
    assert lowered.state == State(map=(4, 4, 4))
    assert lowered.map_index == 3
