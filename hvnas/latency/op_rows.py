"""Measured ops: CSV rows whose key columns are the fused op's own fields."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvnas._files import read_text
from hvnas.latency.table import Line, number, read_table, whole
from hvnas.ops import Op
from hvnas.ops.op import KINDS, Shape

KEY = (*("op", "shape_in", "shape_out", "kernel", "stride", "groups", "bias", "variant", "weights", "act"),)
FIELDS = (*KEY, "ms", "spread", "n", "status")
USED, NOISY = "used", "noisy"
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
    if growing and not _whole_text(path).strip():
        return ()
    lines = _lines(path, growing)
    rows = tuple(_row(line, f"{path}: row {line.number}") for line in lines)
    seen: dict[tuple[object, ...], int] = {}
    for line, row in zip(lines, rows, strict=True):
        first = seen.setdefault(row.op.key, line.number)
        if first != line.number:
            raise ValueError(f"{path}: rows {first} and {line.number}: the same op twice; keep the right one")
    return rows


def header() -> str:
    """The first line of such a file."""
    return ",".join(FIELDS) + "\n"


def op_lines(rows: Sequence[OpTime]) -> str:
    """The lines of `rows`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in rows:
        status = NOISY if row.noisy else USED
        writer.writerow([*_cells(row.op), f"{row.ms:.6g}", f"{row.spread:.3g}", row.n, status])
    return out.getvalue()


def _whole_text(path: str | Path) -> str:
    text = read_text(path)
    return text[: text.rfind("\n") + 1]


def _lines(path: str | Path, growing: bool) -> list[Line]:
    if not growing:
        return read_table(path, FIELDS)
    text = _whole_text(path)
    first, _, rest = text.partition("\n")
    if first + "\n" != header():
        raise ValueError(f"{path}: row 1: the columns must be {','.join(FIELDS)}")
    cells = csv.reader(io.StringIO(rest))
    return [
        Line(number, dict(zip(FIELDS, row, strict=True)))
        for number, row in enumerate(cells, start=2)
        if len(row) == len(FIELDS)
    ]


def _cells(op: Op) -> list[str]:
    def joined(values: Shape) -> str:
        return "x".join(map(str, values))

    return [
        *(op.kind, joined(op.shape_in), joined(op.shape_out), joined(op.kernel), joined(op.stride)),
        *(str(op.groups), str(int(op.bias)), op.variant, str(op.weights), op.act),
    ]


def _row(line: Line, where: str) -> OpTime:
    cells = line.cells
    if cells["op"] not in KINDS:
        raise ValueError(f"{where}: op: unknown kind {cells['op']!r}; there are {', '.join(sorted(KINDS))}")
    if cells["status"] not in (USED, NOISY):
        raise ValueError(f"{where}: status: must be {USED} or {NOISY}, got {cells['status']!r}")
    ms, spread = (number(cells[name], f"{where}: {name}", of="milliseconds") for name in ("ms", "spread"))
    if ms <= 0:
        raise ValueError(f"{where}: ms: must be > 0, got {cells['ms']}")
    if spread < 0:
        raise ValueError(f"{where}: spread: must be >= 0, got {cells['spread']}")
    return OpTime(_op(cells, where), ms, spread, whole(cells["n"], f"{where}: n"), cells["status"] == NOISY)


def _op(cells: dict[str, str], where: str) -> Op:
    def sizes(name: str, ranks: tuple[int, ...], like: str) -> Shape:
        parts = cells[name].split("x")
        if not all(part.isdecimal() for part in parts) or len(parts) not in ranks:
            raise ValueError(f"{where}: {name}: must be {like}, got {cells[name]!r}")
        if 0 in (found := tuple(map(int, parts))):
            raise ValueError(f"{where}: {name}: must be >= 1, got {cells[name]!r}")
        return found

    def shape(name: str) -> Shape:
        if cells["op"] in OF_MAPS:
            return sizes(name, (3,), "three whole numbers like 64x28x28")
        return sizes(name, (2, 3), "whole numbers like 64x28x28 or 196x384")

    def pair(name: str) -> tuple[int, int]:
        first, second = sizes(name, (2,), "two whole numbers like 3x3")
        return first, second

    if cells["bias"] not in ("0", "1"):
        raise ValueError(f"{where}: bias: must be 0 or 1, got {cells['bias']!r}")
    if not cells["weights"].isdecimal():
        raise ValueError(f"{where}: weights: must be a whole number >= 0, got {cells['weights']!r}")
    return Op(
        cells["op"],
        shape("shape_in"),
        shape("shape_out"),
        kernel=pair("kernel"),
        stride=pair("stride"),
        groups=whole(cells["groups"], f"{where}: groups"),
        bias=cells["bias"] == "1",
        variant=cells["variant"],
        weights=int(cells["weights"]),
        act=cells["act"],
    )
