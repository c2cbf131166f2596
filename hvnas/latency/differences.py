"""Published differences: what one change to a network, or one part of it, was measured to take.

A CSV row each. They say what a single cost is where whole networks, which differ in everything, do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvnas._csv import Row
from hvnas._files import csv_text, read_csv
from hvnas.latency.columns import list_columns
from hvnas.latency.rows import LONGEST_MS, SHORTEST_MS

TEXT_FIELDS = ("name", "about", "families", "protocol", "source")
FIELDS = ("name", "about", "families", "ms", "of_ms", "protocol", "source")


@dataclass(frozen=True, slots=True)
class Difference:
    """`ms` that a change adds to a network of `of_ms` milliseconds, and what it adds to each column.

    `about` is the cost that it speaks of, `families` (a word each) the families of which it tells
    something: left out with any of them.
    """

    name: str
    about: str
    families: str
    ms: float
    of_ms: float
    protocol: str
    source: str
    values: Mapping[str, float]

    def tells_of(self, family: str) -> bool:
        """Whether `family` is one of its families."""
        return family in self.families.split()


def read_differences(path: str | Path) -> tuple[Difference, ...]:
    """The rows of a CSV file that `write_differences` wrote.

    Raises ValueError naming file, row and field: columns missing or unknown, empty text, numbers that are
    none.
    """
    return tuple(map(_row, read_csv(path, FIELDS, optional=list_columns())))


def write_differences(rows: Sequence[Difference]) -> str:
    """The text that `read_differences` reads."""
    lines = (
        {name: getattr(row, name) for name in FIELDS}
        | {"ms": f"{row.ms:g}", "of_ms": f"{row.of_ms:g}"}
        | {name: f"{value:.0f}" for name, value in row.values.items()}
        for row in rows
    )
    return csv_text(lines, [*FIELDS, *rows[0].values])


def _row(row: Row) -> Difference:
    text = {name: row.text(name, "a difference says what it is and where it is from") for name in TEXT_FIELDS}
    terms = [name for name in row.cells if name not in FIELDS]
    return Difference(
        ms=row.number_of("ms", least=-LONGEST_MS, most=LONGEST_MS),
        of_ms=row.number_of("of_ms", above=0, least=SHORTEST_MS, most=LONGEST_MS),
        values=dict(zip(terms, row.numbers(terms), strict=True)),
        **text,
    )
