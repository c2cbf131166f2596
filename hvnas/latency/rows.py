"""The measurements behind a device: CSV rows, one per published or own measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvnas._csv import Row
from hvnas._files import csv_text, read_csv
from hvnas.latency.columns import list_columns

TEXT_FIELDS = ("network", "model", "family", "cohort", "protocol", "device", "source")
FIELDS = ("network", "model", "family", "resolution", "ms", "cohort", "protocol", "device", "source")
_FIXED = frozenset(FIELDS)
# A nanosecond, finer than any clock, and eleven days: nothing that is shorter or longer was measured.
SHORTEST_MS, LONGEST_MS = 1e-6, 1e9
# Pixels of an input's side, and tokens of a block's input.
LARGEST_SIDE = 65_536


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
    no number from `SHORTEST_MS` to `LONGEST_MS`, and rows that contradict one another.
    """
    lines = list(read_csv(path, FIELDS, optional=list_columns(), advice=_advice_on_column))
    rows = tuple(map(_row, lines))
    _check_agreement(rows, [line.number for line in lines], path)
    return rows


def write_rows(rows: Sequence[Measurement]) -> str:
    """The text that `read_rows` reads."""
    lines = (
        {name: getattr(row, name) for name in FIELDS}
        | {"ms": f"{row.ms:g}"}
        | {name: f"{value:.0f}" for name, value in row.values.items()}
        for row in rows
    )
    return csv_text(lines, [*FIELDS, *rows[0].values])


def _advice_on_column(name: str) -> str:
    return "the terms are " + ", ".join(list_columns())


def _row(row: Row) -> Measurement:
    text = {
        name: row.text(name, "a measurement says what it is and where it is from") for name in TEXT_FIELDS
    }
    terms = [name for name in row.cells if name not in _FIXED]
    return Measurement(
        resolution=row.whole("resolution", most=LARGEST_SIDE),
        ms=row.number_of("ms", least=SHORTEST_MS, most=LONGEST_MS, above=0),
        values=dict(zip(terms, row.numbers(terms, least=0), strict=True)),
        **text,
    )


def _check_agreement(rows: Sequence[Measurement], lines: Sequence[int], path: str | Path) -> None:
    for field, earlier, later in _contradictions(rows, lines):
        raise ValueError(
            f"{path}: rows {earlier} and {later}: {field}: disagree on the same thing; keep the right one"
        )


def _contradictions(rows: Sequence[Measurement], lines: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    measured: dict[tuple[object, ...], tuple[int, float]] = {}
    networks: dict[tuple[str, int], tuple[int, Measurement]] = {}
    for line, row in zip(lines, rows, strict=True):
        key = (row.network, row.model, row.resolution, row.protocol, row.device, row.source)
        known, ms = measured.setdefault(key, (line, row.ms))
        if ms != row.ms:
            yield "ms", known, line
        known, other = networks.setdefault((row.network, row.resolution), (line, row))
        if other.family != row.family:
            yield "family", known, line
        if other.values != row.values:
            yield next(name for name, value in row.values.items() if other.values[name] != value), known, line
