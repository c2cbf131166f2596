"""The CSV of measured ops: it comes back as written, and bad rows are refused by number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hvnas.arch import load_arch
from hvnas.latency.tables.op_rows import FIELDS, OpTime, header, op_lines, read_op_rows

GOOD = "conv,64x28x28,128x14x14,3x3,2x2,1,1,,0,gelu,0.25,0.01,9,used"
LINEAR = "linear,196x384,196x1152,1x1,1x1,1,1,,0,,0.5,0.01,9,noisy"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*lines: str, first: str = header()) -> Path:
        (tmp_path / "t.csv").write_text(first + "".join(line + "\n" for line in lines), encoding="utf-8")
        return tmp_path / "t.csv"

    return write


@pytest.mark.parametrize(
    "name", ["efficientformer_l1", "coatnet_0", "mobileformer_52m", "mobilevit_xxs", "efficientformerv2_s0"]
)
def test_every_op_comes_back(tmp_path: Path, name: str) -> None:
    ops = dict.fromkeys(op._replace(inputs=()) for op in load_arch(name).lower().fused().ops)
    rows = tuple(OpTime(op, 0.125, 0.25, 9, k % 5 == 0) for k, op in enumerate(ops))
    (tmp_path / "t.csv").write_text(header() + op_lines(rows), encoding="utf-8")
    assert read_op_rows(tmp_path / "t.csv") == rows
    assert read_op_rows(tmp_path / "t.csv", growing=True) == rows


def test_a_row_is_what_it_says(write: Write) -> None:
    first, second = read_op_rows(write(GOOD, LINEAR))
    assert (first.op.kind, first.op.shape_out, first.op.stride, first.op.act) == (
        "conv",
        (128, 14, 14),
        (2, 2),
        "gelu",
    )
    assert (first.ms, first.spread, first.n, first.noisy, second.noisy) == (0.25, 0.01, 9, False, True)


def changed(**cells: str) -> str:
    return ",".join(cells.get(name, cell) for name, cell in zip(FIELDS, GOOD.split(","), strict=True))


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"ms": "-0.5"}, "ms: must be > 0, got -0.5"),
        ({"ms": "0"}, "ms: must be > 0, got 0"),
        ({"ms": "nan"}, "ms: must be a finite number of milliseconds, got nan"),
        ({"ms": "inf"}, "ms: must be a finite number of milliseconds, got inf"),
        ({"ms": "3us"}, "ms: must be a number of milliseconds without a unit, got '3us'"),
        ({"spread": "-1"}, "spread: must be >= 0, got -1"),
        ({"n": "0"}, "n: must be a whole number >= 1, got 0"),
        ({"op": "conv9d"}, "op: unknown kind 'conv9d'; there are act, add,"),
        ({"status": "maybe"}, "status: must be used or noisy, got 'maybe'"),
        ({"shape_in": "64x28xq"}, "shape_in: must be three whole numbers like 64x28x28, got '64x28xq'"),
        ({"shape_in": "64x28"}, "shape_in: must be three whole numbers like 64x28x28, got '64x28'"),
        ({"shape_out": "0x14x14"}, "shape_out: must be >= 1, got '0x14x14'"),
        ({"kernel": "3"}, "kernel: must be two whole numbers like 3x3, got '3'"),
        ({"stride": "0x0"}, "stride: must be >= 1, got '0x0'"),
        ({"groups": "2x3"}, "groups: must be a number, got '2x3'"),
        ({"bias": "yes"}, "bias: must be 0 or 1, got 'yes'"),
        ({"weights": "-1"}, "weights: must be a whole number >= 0, got -1"),
    ],
)
@pytest.mark.parametrize("growing", [False, True])
def test_bad_rows_are_refused_by_number(
    write: Write, cells: dict[str, str], says: str, growing: bool
) -> None:
    path = write(LINEAR, changed(**cells))
    with pytest.raises(ValueError) as caught:
        read_op_rows(path, growing=growing)
    assert str(caught.value).startswith(f"{path}: row 3: {says}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("growing", [False, True])
def test_one_op_twice(write: Write, growing: bool) -> None:
    with pytest.raises(ValueError, match="rows 2 and 4: the same op twice; keep the right one"):
        read_op_rows(write(GOOD, LINEAR, changed(ms="7")), growing=growing)


def test_a_missing_column(write: Write) -> None:
    path = write(GOOD.replace(",0.25,", ",", 1), first=header().replace(",ms,", ","))
    with pytest.raises(ValueError, match="row 1: ms: missing column; there must be op, shape_in,"):
        read_op_rows(path)
    with pytest.raises(ValueError, match="row 1: ms: missing column; there must be op, shape_in,"):
        read_op_rows(path, growing=True)


def test_a_column_in_other_units(write: Write) -> None:
    with pytest.raises(ValueError, match="row 1: us: unknown column"):
        read_op_rows(write(GOOD, first=header().replace(",ms,", ",us,")))


def test_a_short_row(write: Write) -> None:
    path = write(LINEAR, "conv,64x28x28")
    with pytest.raises(ValueError, match="row 3: 2 fields where the header has 14"):
        read_op_rows(path)


def test_a_file_that_grows_may_hold_nothing_yet(write: Write, tmp_path: Path) -> None:
    assert read_op_rows(write(), growing=True) == ()
    (tmp_path / "t.csv").write_text("op,sha", encoding="utf-8")
    assert read_op_rows(tmp_path / "t.csv", growing=True) == ()
    with pytest.raises(ValueError, match="holds a header and no rows"):
        read_op_rows(write())
