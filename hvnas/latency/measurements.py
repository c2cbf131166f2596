"""Measured times as users write and keep them: a documented CSV, one row per thing that was timed.

The columns are `FIELDS`; times are milliseconds, always. What a row says of its protocol is what makes
it comparable, so a file holds the rows of one protocol only.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from hvnas._files import to_cell, write_atomic
from hvnas.latency.table import Line, number, read_table, whole

Kind = Literal["model", "block", "op"]
Statistic = Literal["median", "mean"]

# Another unit, or a time that does not say its unit: `us`, `latency_ms`, `Time (s)`.
_TIME = re.compile(
    r"(?:.*[\W_])?(?:n|u|µ|μ|m|micro|milli|nano)?s(?:ec(?:ond)?s?)?\W*|.*(?:latency|time|duration).*",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMeasurement:
    """One measured time and all that one must know to compare it with another.

    `kind` says what `key` names: a model (one of the shipped ones, or the path of an architecture file
    relative to the CSV), a block (an entry of an exported suite) or an op. `resolution` is the side of
    the square input in pixels. `ms` is the `statistic` over `n` runs of one batch, in milliseconds;
    `spread`, in milliseconds, is a standard deviation, or where the runs are known 1.4826 times their
    median absolute deviation. `threads` is None where the runtime leaves no choice, `n` and `spread` where
    the source does not tell. Raises ValueError naming the field.
    """

    kind: Kind
    key: str
    resolution: int
    ms: float
    spread: float | None
    n: int | None
    statistic: Statistic
    device: str
    os: str
    runtime: str
    runtime_version: str
    compute_unit: str
    precision: str
    threads: int | None
    batch: int
    protocol: str
    source: str

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, get_args(Kind))
        _one_of("statistic", self.statistic, get_args(Statistic))
        for name in TEXT_FIELDS:
            if not getattr(self, name).strip():
                raise ValueError(f"{name}: is empty; a measurement says what it is and where it is from")
        if not (math.isfinite(self.ms) and self.ms > 0):
            raise ValueError(f"ms: must be a finite number > 0, got {self.ms:g}")
        if self.spread is not None and not (math.isfinite(self.spread) and self.spread >= 0):
            raise ValueError(f"spread: must be a finite number >= 0, got {self.spread:g}")
        if self.threads is None and needs_threads(self.runtime, self.compute_unit):
            raise ValueError("threads: is empty; a time on a CPU says on how many threads")


FIELDS = tuple(field.name for field in dataclasses.fields(ModelMeasurement))
TEXT_FIELDS = (
    "key",
    "device",
    "os",
    "runtime",
    "runtime_version",
    "compute_unit",
    "precision",
    "protocol",
    "source",
)
# What the rows of a file have in common; `protocol` is prose and may say more of one row than of another.
SHARED = (
    "device",
    "os",
    "runtime",
    "runtime_version",
    "compute_unit",
    "precision",
    "threads",
    "batch",
    "statistic",
)


def kind_of(text: str) -> Kind:
    """`text` as a kind. Raises ValueError with those there are."""
    _one_of("kind", text, get_args(Kind))
    return cast(Kind, text)


def needs_threads(runtime: str, compute_unit: str) -> bool:
    """Whether a time means nothing without its number of threads: on a CPU, but for Core ML's."""
    return compute_unit.casefold() == "cpu" and runtime.casefold() not in ("coreml", "core ml")


def read_measurements(path: str | Path) -> tuple[ModelMeasurement, ...]:
    """The rows of a CSV file with the columns `FIELDS`, checked; a row that stands twice is one row.

    Raises ValueError naming file, row (the file's line, the header being 1) and field: columns that are
    missing, unknown or in another unit, times that are no number > 0, empty provenance, rows of different
    protocols, and rows of one key that disagree.
    """
    lines = read_table(path, FIELDS, advice=_advice_on_column)
    rows = [_row(line, f"{path}: row {line.number}") for line in lines]
    check_rows(rows, [f"{path}: row {line.number}" for line in lines])
    return tuple(dict.fromkeys(rows))


def write_measurements(path: str | Path, rows: Sequence[ModelMeasurement]) -> None:
    """Replace `path` by the CSV of `rows` in one step: `read_measurements` reads the same rows back.

    Raises ValueError, and leaves what was there, where rows do not belong in one file or where the file
    cannot be written.
    """
    if not rows:
        raise ValueError(f"{path}: there are no rows to write")
    check_rows(rows, [f"{path}: row {i}" for i in range(2, len(rows) + 2)])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for row in rows:
        writer.writerow(["" if value is None else to_cell(value) for value in dataclasses.astuple(row)])
    try:
        write_atomic(path, out.getvalue())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"{path}: cannot be written: {reason}; nothing was written") from None


def check_rows(rows: Sequence[ModelMeasurement], labels: Sequence[str]) -> None:
    """Raise ValueError where rows do not belong together; `labels` says where each is from.

    One protocol per file, and one time per key and resolution.
    """
    seen: dict[tuple[str, str, int], int] = {}
    for i, row in enumerate(rows):
        for name in SHARED:
            ours, first = getattr(row, name), getattr(rows[0], name)
            if ours != first:
                raise ValueError(
                    f"{labels[i]}: {name}: mixed protocols: {ours} here, {first} in {_short(labels[0])}; "
                    "keep one protocol per file"
                )
        known = seen.setdefault((row.kind, row.key, row.resolution), i)
        if rows[known].ms != row.ms:
            raise ValueError(
                f"{labels[i]}: ms: {row.ms:g} for {row.key} at {row.resolution}, but {rows[known].ms:g} in "
                f"{_short(labels[known])}; {_advice_on_times(row.ms, rows[known].ms)}"
            )


def _short(label: str) -> str:
    return label.rpartition(": ")[2]


def _advice_on_times(ms: float, other: float) -> str:
    ratio = max(ms, other) / min(ms, other)
    if ratio > 300:
        return f"they are {ratio:.0f} times apart: is one of them in other units than milliseconds?"
    return "keep the right one, or the median of both"


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: must be {' or '.join(allowed)}, got {value!r}")


def _advice_on_column(name: str) -> str:
    if _TIME.fullmatch(name):
        return "give milliseconds in the column ms"
    return f"the columns are {', '.join(FIELDS)}"


def _row(line: Line, where: str) -> ModelMeasurement:
    cells: dict[str, Any] = dict(line.cells)
    cells["resolution"] = whole(cells["resolution"], f"{where}: resolution")
    cells["batch"] = whole(cells["batch"], f"{where}: batch")
    cells["ms"] = number(cells["ms"], f"{where}: ms", of="milliseconds")
    for name in ("n", "threads"):
        cells[name] = whole(cells[name], f"{where}: {name}") if cells[name] else None
    cells["spread"] = (
        number(cells["spread"], f"{where}: spread", of="milliseconds") if cells["spread"] else None
    )
    try:
        return ModelMeasurement(**cells)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
