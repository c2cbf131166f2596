"""Measured ops, blocks and networks: CSV rows whose key columns are the fused op's own fields, or a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

from hvnas._names import shown
from hvnas._numbers import shortened
from hvnas._records import Cell, Row, csv_line, field_names, read_csv
from hvnas.latency.rows import LONGEST_MS, SHORTEST_MS
from hvnas.ops import Op
from hvnas.ops.op import KINDS, Shape

KEY = (*("op", "shape_in", "shape_out", "kernel", "stride", "groups", "bias", "variant", "weights", "act"),)
FIELDS = (*KEY, "ms", "spread", "n", "status")
USED, NOISY = "used", "noisy"
LARGEST_SIZE = 10**8
OF_MAPS = ("conv", "matmul", "resize")  # kinds whose shapes have three axes


@dataclass(frozen=True, slots=True)
class OpTime:
    """One measured op: milliseconds, the median over rounds of the fastest run of each, `n` runs in all.

    `spread` is the range over the rounds in milliseconds. A row whose spread was beyond the bound
    after it had been measured again is kept as `noisy` and not used.
    """

    op: Op
    ms: float
    spread: float
    n: int
    noisy: bool


def read_op_rows(path: str | Path, *, growing: bool = False) -> tuple[OpTime, ...]:
    """The rows of a CSV file, checked.

    A file that is still `growing` may end in half a line, which is left out, and may hold none at all.
    Raises ValueError naming file, row and column: columns missing or unknown, times that are no number > 0,
    ops that are none, two rows of one op.
    """
    rows: list[OpTime] = []
    seen: dict[tuple[object, ...], int] = {}
    for line in read_csv(path, FIELDS, growing=growing):
        row = _row(line)
        first = seen.setdefault(row.op.key, line.number)
        if first != line.number:
            raise ValueError(f"{path}: rows {first} and {line.number}: the same op twice; keep the right one")
        rows.append(row)
    return tuple(rows)


def header() -> str:
    """The first line of such a file."""
    return csv_line(FIELDS)


def op_lines(rows: Sequence[OpTime]) -> str:
    """The lines of `rows`."""
    return "".join(
        csv_line(
            [
                *_cells(row.op),
                f"{row.ms:.6g}",
                f"{row.spread:.3g}",
                row.n,
                NOISY if row.noisy else USED,
            ]
        )
        for row in rows
    )


def _cells(op: Op) -> list[str]:
    def joined(values: Shape) -> str:
        return "x".join(map(str, values))

    return [
        *(op.kind, joined(op.shape_in), joined(op.shape_out), joined(op.kernel), joined(op.stride)),
        *(str(op.groups), str(int(op.bias)), op.variant, str(op.weights), op.act),
    ]


def _row(row: Row) -> OpTime:
    if row.cells["op"] not in KINDS:
        raise row.refusal(
            "op", f"unknown kind {shown(row.cells['op'])}; there are {', '.join(sorted(KINDS))}"
        )
    return OpTime(
        _op(row),
        row.number_of("ms", above=0, least=SHORTEST_MS, most=LONGEST_MS, unit="milliseconds"),
        row.number_of("spread", least=0, most=LONGEST_MS, unit="milliseconds"),
        row.whole("n"),
        row.one_of("status", (USED, NOISY)) == NOISY,
    )


def _op(row: Row) -> Op:
    kind = row.cells["op"]
    if kind in OF_MAPS:
        shape = partial(_sizes, row, ranks=(3,), like="three whole numbers like 64x28x28")
    else:
        shape = partial(_sizes, row, ranks=(2, 3), like="whole numbers like 64x28x28 or 196x384")
    return Op(
        kind,
        shape("shape_in"),
        shape("shape_out"),
        kernel=_pair(row, "kernel"),
        stride=_pair(row, "stride"),
        groups=row.whole("groups", most=LARGEST_SIZE),
        bias=row.one_of("bias", ("0", "1")) == "1",
        variant=row.cells["variant"],
        weights=row.whole("weights", least=0, most=10**12),
        act=row.cells["act"],
    )


def _pair(row: Row, column: str) -> tuple[int, int]:
    first, second = _sizes(row, column, ranks=(2,), like="two whole numbers like 3x3")
    return first, second


def _sizes(row: Row, column: str, *, ranks: tuple[int, ...], like: str) -> Shape:
    cell = row.cells[column]
    parts = cell.split("x")
    if not all(part.isdecimal() for part in parts) or len(parts) not in ranks:
        raise row.refusal(column, f"must be {like}, got {shown(cell)}")
    # Of longer ones not even the value is worked out.
    sizes = tuple(int(part) if len(part) < 20 else LARGEST_SIZE + 1 for part in parts)
    if min(sizes) < 1:
        raise row.refusal(column, f"must be >= 1, got {shown(cell)}")
    if max(sizes) > LARGEST_SIZE:
        raise row.refusal(column, f"must be at most {LARGEST_SIZE}, got {shown(cell)}")
    return sizes


def padding(op: Op) -> tuple[int, int]:
    """Padding per axis that makes `shape_out` of `shape_in`."""
    axes = zip(op.shape_in[1:], op.shape_out[1:], op.kernel, op.stride, strict=True)
    first, second = (max(0, ceil(((out - 1) * s + k - size) / 2)) for size, out, k, s in axes)
    return first, second


def glue_shapes(op: Op) -> tuple[Shape, Shape]:
    """Shapes of the two operands of an add, mul, maximum or concat.

    A product of maps is taken for a channel gate (squeeze-excitation), which is what most are; a
    concatenation for one of halves.
    """
    if op.kind == "concat":
        axis = 0 if len(op.shape_out) == 3 else len(op.shape_out) - 1
        half = op.shape_out[axis] // 2
        sizes = (half, op.shape_out[axis] - half)
        first, second = ((*op.shape_out[:axis], size, *op.shape_out[axis + 1 :]) for size in sizes)
        return first, second
    if op.kind == "mul" and len(op.shape_out) == 3 and op.shape_in == op.shape_out:
        return op.shape_in, (op.shape_out[0], 1, 1)
    return op.shape_in, op.shape_out


BLOCK: Literal["block"] = "block"
NETWORK: Literal["network"] = "network"


@dataclass(frozen=True, slots=True)
class WholeTime:
    """One block's time without the call's, or one network's with it; `key` is the block's name or a hash.

    `spread` in milliseconds is the range of the rounds.
    """

    kind: Literal["block", "network"]
    key: str
    ms: float
    spread: Annotated[float, Cell(least=0, most=LONGEST_MS)]
    macs: Annotated[int, Cell(least=0, most=10**15)]


WHOLE_FIELDS = field_names(WholeTime)


def whole_header() -> str:
    """The first line of such a file."""
    return csv_line(WHOLE_FIELDS)


def whole_line(row: WholeTime) -> str:
    """The line of a row."""
    return csv_line([row.kind, row.key, f"{row.ms:.6g}", f"{row.spread:.3g}", row.macs])


def read_whole_rows(path: str | Path) -> tuple[WholeTime, ...]:
    """The whole lines of a file. Raises ValueError naming file, row and column."""
    rows, seen = [], dict[tuple[str, str], int]()
    for line in read_csv(path, WHOLE_FIELDS, growing=True):
        row = _whole_row(line)
        first = seen.setdefault((row.kind, row.key), line.number)
        if first != line.number:
            twice = shortened(row.key, 60)
            raise ValueError(f"{path}: rows {first} and {line.number}: {twice} twice; keep the right one")
        rows.append(row)
    return tuple(rows)


def _whole_row(row: Row) -> WholeTime:
    # A block's time is a difference, which noise may turn round.
    above = 0 if row.cells["kind"] == NETWORK else None
    ms = row.number_of("ms", above=above, least=-LONGEST_MS, most=LONGEST_MS)
    return row.record(WholeTime, {"ms": ms})
