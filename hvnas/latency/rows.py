"""The measurements behind a device: CSV rows, one per published or own measurement."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvnas._files import from_cell, read_text, to_cell
from hvnas.latency.columns import list_columns

TEXT_FIELDS = ("network", "model", "family", "cohort", "protocol", "device", "source")
FIELDS = ("network", "model", "family", "resolution", "ms", "cohort", "protocol", "device", "source")
_FIXED = frozenset(FIELDS)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured network.

    `network` is the name it is rebuilt by, `model` the source's name, `cohort` the set of rows that it
    belongs to (rows of one cohort are comparable), `values` the network's columns by name.
    """

    network: str
    model: str
    family: str
    resolution: int
    ms: float
    cohort: str
    protocol: str
    device: str
    source: str
    values: Mapping[str, float]


def read_rows(path: str | Path) -> tuple[Measurement, ...]:
    """The rows of a CSV file, checked.

    Raises ValueError naming file, row (the file's line, the header being 1) and field: columns that
    are missing or unknown, text that is empty (a row without a source does not load), times that are
    no number > 0, and rows that contradict one another.
    """
    lines = csv.reader(io.StringIO(read_text(path)), strict=True)
    try:
        header = next(lines, [])
        _check_header(header, path)
        rows = tuple(_row(header, cells, f"{path}: row {lines.line_num}") for cells in lines if cells)
    except csv.Error as error:
        raise ValueError(f"{path}: row {lines.line_num}: not valid CSV: {error}") from None
    if not rows:
        raise ValueError(f"{path}: holds no rows; a device needs at least one measurement")
    _check_agreement(rows, path)
    return rows


def write_rows(rows: Sequence[Measurement]) -> str:
    """The text that `read_rows` reads."""
    names = list(rows[0].values)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*FIELDS, *names])
    for row in rows:
        fixed = [f"{row.ms:g}" if name == "ms" else to_cell(getattr(row, name)) for name in FIELDS]
        writer.writerow([*fixed, *(f"{row.values[name]:.0f}" for name in names)])
    return out.getvalue()


def _check_header(header: list[str], path: str | Path) -> None:
    for name in FIELDS:
        if name not in header:
            raise ValueError(f"{path}: row 1: {name}: missing column; there must be {', '.join(FIELDS)}")
    for name in header:
        if header.count(name) > 1:
            raise ValueError(f"{path}: row 1: {name}: this column stands twice")
        if name not in FIELDS and name not in list_columns():
            raise ValueError(f"{path}: row 1: {name}: unknown column; terms are {', '.join(list_columns())}")


def _row(header: list[str], cells: list[str], where: str) -> Measurement:
    if len(cells) != len(header):
        raise ValueError(
            f"{where}: {len(cells)} fields where the header has {len(header)}; is the file whole?"
        )
    data = dict(zip(header, cells, strict=True))
    for name in TEXT_FIELDS:
        if not data[name].strip():
            raise ValueError(f"{where}: {name}: is empty; a measurement says what it is and where it is from")
    resolution = _number(data["resolution"], f"{where}: resolution")
    ms = _number(data["ms"], f"{where}: ms")
    if ms <= 0:
        raise ValueError(f"{where}: ms: must be > 0, got {data['ms']}")
    if resolution < 1 or resolution != int(resolution):
        raise ValueError(f"{where}: resolution: must be a whole number >= 1, got {data['resolution']}")
    text = {name: from_cell(data[name]) for name in TEXT_FIELDS}
    terms = {name: cell for name, cell in data.items() if name not in _FIXED}
    return Measurement(resolution=int(resolution), ms=ms, values=_values(terms, where), **text)


def _values(cells: Mapping[str, str], where: str) -> dict[str, float]:
    """Numbers >= 0 by name. A file holds thousands, so that only what is wrong is looked at one by one."""
    try:
        values = dict(zip(cells, map(float, cells.values()), strict=True))
    except ValueError:
        values = {}
    if values and all(0 <= value < math.inf for value in values.values()):
        return values
    for name, cell in cells.items():
        if _number(cell, f"{where}: {name}") < 0:
            raise ValueError(f"{where}: {name}: must be >= 0, got {cell}")
    return values


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{where}: must be a number, got {text!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"{where}: must be a finite number, got {text}")
    return value


def _check_agreement(rows: Sequence[Measurement], path: str | Path) -> None:
    for field, earlier, later in _contradictions(rows):
        raise ValueError(
            f"{path}: rows {earlier} and {later}: {field}: disagree on the same thing; keep the right one"
        )


def _contradictions(rows: Sequence[Measurement]) -> Iterator[tuple[str, int, int]]:
    measured: dict[tuple[object, ...], tuple[int, float]] = {}
    networks: dict[tuple[str, int], tuple[int, Measurement]] = {}
    for line, row in enumerate(rows, start=2):
        key = (row.network, row.model, row.resolution, row.protocol, row.device, row.source)
        known, ms = measured.setdefault(key, (line, row.ms))
        if ms != row.ms:
            yield "ms", known, line
        known, other = networks.setdefault((row.network, row.resolution), (line, row))
        if other.family != row.family:
            yield "family", known, line
        if other.values != row.values:
            yield next(name for name, value in row.values.items() if other.values[name] != value), known, line
