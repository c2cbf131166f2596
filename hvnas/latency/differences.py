"""Published differences: what one change to a network, or one part of it, was measured to take.

A CSV row each. They say what a single cost is where whole networks, which differ in everything, do not.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvnas._files import from_cell, read_text, to_cell

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

    Raises ValueError naming file, row and field: missing columns, empty text, numbers that are none.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    for name in FIELDS:
        if name not in (reader.fieldnames or ()):
            raise ValueError(f"{path}: row 1: {name}: missing column; there must be {', '.join(FIELDS)}")
    return tuple(_row(_text(data), f"{path}: row {reader.line_num}") for data in reader)


def write_differences(rows: Sequence[Difference]) -> str:
    """The text that `read_differences` reads."""
    names = list(rows[0].values)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*FIELDS, *names])
    for row in rows:
        fixed = [f"{v:g}" if isinstance(v := getattr(row, name), float) else v for name in FIELDS]
        writer.writerow([*map(to_cell, fixed), *(f"{row.values[name]:.0f}" for name in names)])
    return out.getvalue()


def _text(data: dict[str, str]) -> dict[str, str]:
    return {name: from_cell(cell) if name in TEXT_FIELDS and cell else cell for name, cell in data.items()}


def _row(data: dict[str, str], where: str) -> Difference:
    for name, text in data.items():
        if text is None or name is None:
            raise ValueError(f"{where}: more or fewer fields than the header has; is the file whole?")
    for name in TEXT_FIELDS:
        if not data[name].strip():
            raise ValueError(f"{where}: {name}: is empty; a difference says what it is and where it is from")
    numbers = {name: _number(data[name], f"{where}: {name}") for name in data if name not in TEXT_FIELDS}
    ms, of_ms = numbers.pop("ms"), numbers.pop("of_ms")
    if of_ms <= 0:
        raise ValueError(f"{where}: of_ms: must be > 0, got {data['of_ms']}")
    return Difference(ms=ms, of_ms=of_ms, values=numbers, **{name: data[name] for name in TEXT_FIELDS})


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: must be a finite number, got {text!r}")
    return value
