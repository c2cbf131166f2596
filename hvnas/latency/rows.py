"""The measurements behind a device: CSV rows, one per published or own measurement."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol, overload

from hvnas._numbers import LARGEST
from hvnas._records import Cell, Row, csv_text, read_csv
from hvnas.latency.columns import list_columns

FIELDS = ("network", "model", "family", "resolution", "ms", "cohort", "protocol", "device", "source")
# Networks that agree in these are the same work, whatever their names and the order of their axes.
SAME_WORK = (
    *("macs", "params", "weight_bytes", "act_bytes", "matmul_bytes", "transcendental", "gate_bytes"),
    *("pool_bytes", "grouped_macs"),
)
# The cohort of times that were measured on other chips and scaled to a device.
SCALED = "scaled"
# A nanosecond, finer than any clock, and eleven days: nothing that is shorter or longer was measured.
SHORTEST_MS, LONGEST_MS = 1e-6, 1e9
# Pixels of an input's side, and tokens of a block's input.
LARGEST_SIDE = 65_536
# The largest of each whole number in files of measurements and of devices.
MOST = {"resolution": LARGEST_SIDE, "n": 10**9, "threads": 10_000, "batch": 10**6}

Text = Annotated[str, Cell(advice="a measurement says what it is and where it is from")]
Time = Annotated[float, Cell(above=0, least=SHORTEST_MS, most=LONGEST_MS)]
Side = Annotated[int, Cell(least=1, most=LARGEST_SIDE)]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured network.

    `network` is the name it is rebuilt by, `model` the source's name, `cohort` the set of rows that it
    belongs to (rows of one cohort are comparable), `values` the network's columns by name.
    """

    network: Text
    model: Text
    family: Text
    resolution: Side
    ms: Time
    cohort: Text
    protocol: Text
    device: Text
    source: Text
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


class RowsOfFile(Sequence[Measurement]):
    """The rows of a file that ships, and so was checked: read when they are first looked at.

    What is often asked of them may be known before: which network computes `fastest`, and the `columns`.
    """

    def __init__(
        self, path: Path, *, fastest: Fastest | None = None, columns: Sequence[str] | None = None
    ) -> None:
        self.path, self.fastest, self.columns = path, fastest, columns

    @cached_property
    def _rows(self) -> tuple[Measurement, ...]:
        return read_rows(self.path)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Measurement: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Measurement, ...]: ...
    def __getitem__(self, index: int | slice) -> Measurement | tuple[Measurement, ...]:
        return self._rows[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._rows == tuple(other)

    __hash__ = None  # type: ignore[assignment]


class Fastest(NamedTuple):
    """The measured network that computes most MACs a millisecond, and how many."""

    network: str
    pace: float


def fastest_of(rows: Sequence[Measurement]) -> Fastest | None:
    """The fastest of the networks whose MACs are known, None where there are none."""
    if isinstance(rows, RowsOfFile) and rows.fastest is not None:
        return rows.fastest
    paces = {row.network: row.values["macs"] / row.ms for row in rows if "macs" in row.values}
    network = max(paces, key=lambda network: paces[network], default=None)
    return None if network is None else Fastest(network, paces[network])


def columns_of(rows: Sequence[Measurement]) -> Sequence[str]:
    """The names of the columns that the measured networks come with."""
    if isinstance(rows, RowsOfFile) and rows.columns is not None:
        return rows.columns
    return tuple(rows[0].values) if rows else ()


def write_rows(rows: Sequence[Measurement]) -> str:
    """The text that `read_rows` reads."""
    return rows_csv(rows, FIELDS, times=("ms",))


def _advice_on_column(name: str) -> str:
    return "the terms are " + ", ".join(list_columns())


def _row(row: Row) -> Measurement:
    return row.record(Measurement, {"values": column_values(row, FIELDS, least=0)})


def column_values(row: Row, others: Collection[str], *, least: float = -LARGEST) -> dict[str, float]:
    """Return the numbers of a row, each at least `least`, in the columns that are no `others`."""
    names = [name for name in row.cells if name not in others]
    return dict(zip(names, row.numbers(names, least=least), strict=True))


class Measured(Protocol):
    """A row of columns that are fields, and of the network's own."""

    @property
    def values(self) -> Mapping[str, float]:
        """The network's columns by name."""


def rows_csv(rows: Sequence[Measured], columns: Sequence[str], *, times: Collection[str]) -> str:
    """The CSV of rows: `columns`, those of `times` in as few digits as they have, then their `values`."""
    lines = (
        {name: getattr(row, name) for name in columns}
        | {name: f"{getattr(row, name):g}" for name in times}
        | {name: f"{value:.0f}" for name, value in row.values.items()}
        for row in rows
    )
    return csv_text(lines, [*columns, *rows[0].values])


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
