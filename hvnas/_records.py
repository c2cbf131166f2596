"""Records: rows of one dataclass, read strictly from CSV, and shown as a table, as JSON or as CSV.

Each complaint about a file names it, the row and the column.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from html import escape
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from hvnas._csv import Advice, parse_csv
from hvnas._names import shown
from hvnas._numbers import LARGEST, number, shortened

# What spreadsheets begin a formula with, East Asian forms included, behind apostrophes of `to_cell`.
_FORMULA = re.compile("'*[=+\\-@\\t\\r\\n\uff1d\uff0b\uff0d\uff20]")


_WORDS = ("true", "false")
_NOTHING = "–"

T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """What the cell of a record's field may hold; it stands in the field's `Annotated` type.

    A number is from `least` to `most`, and > `above`, in `unit`. A text is empty only where it is `optional`;
    `advice` says what to do about another.
    """

    least: float = -LARGEST
    most: float = LARGEST
    above: float | None = None
    unit: str = ""
    optional: bool = False
    advice: str = "fill it in"


class Row(NamedTuple):
    """One row of a table: its file, its line there, the header being 1, and its cells by column."""

    path: str
    number: int
    cells: dict[str, str]

    @property
    def where(self) -> str:
        """File and row, as each complaint begins."""
        return f"{self.path}: row {self.number}"

    def refusal(self, column: str, said: str) -> ValueError:
        """An error that names file, row and column."""
        return ValueError(f"{self.where}: {column}: {said}")

    def record(self, kind: type[T], given: Mapping[str, Any] | None = None) -> T:
        """The row as a dataclass: a cell for each field, but for those that are `given`.

        A field is a text, a number, a truth (``true`` or ``false``), one of the words of a Literal, or texts
        divided by semicolons; where it may be None, an empty cell is None. See `Cell` for what else is
        checked. Raises ValueError naming the first cell that is wrong.
        """
        values = dict(given or {})
        for name, cell in _cells_of(kind).items():  # type: ignore[arg-type]
            if name not in values:
                values[name] = _value(self, name, *cell)
        return kind(**values)

    def text(self, column: str, advice: str = "fill it in") -> str:
        """A cell that is not empty. Raises ValueError naming it, with `advice`."""
        cell = self.cells[column]
        if not cell.strip():
            raise self.refusal(column, f"is empty; {advice}")
        return cell

    def one_of(self, column: str, allowed: Sequence[str]) -> str:
        """A cell that holds one of the words `allowed`. Raises ValueError naming it."""
        cell = self.cells[column]
        if cell not in allowed:
            raise self.refusal(column, f"must be {' or '.join(allowed)}, got {shown(cell)}")
        return cell

    def number_of(
        self,
        column: str,
        *,
        least: float = -LARGEST,
        above: float | None = None,
        most: float = LARGEST,
        unit: str = "",
    ) -> float:
        """A finite number from `least` to `most`, and > `above` where that is given.

        Raises ValueError naming the cell; it speaks of `unit`.
        """
        cell = self.cells[column]
        try:
            return number(cell, least=least, above=above, most=most, unit=unit)
        except ValueError as error:
            raise self.refusal(column, str(error)) from None

    def whole(self, column: str, *, least: int = 1, most: int = 10**9) -> int:
        """A whole number from `least` to `most`, ``1e3`` among them. Raises ValueError naming the cell."""
        value = self.number_of(column)
        if value != math.floor(value) or value < least:
            raise self.refusal(
                column, f"must be a whole number >= {least}, got {shortened(self.cells[column], 40)}"
            )
        if value > most:
            raise self.refusal(column, f"must be at most {most}, got {shortened(self.cells[column], 40)}")
        return int(value)

    def numbers(self, columns: Iterable[str], *, least: float = -LARGEST) -> list[float]:
        """Finite numbers >= `least`, one a column. Raises ValueError naming the first other cell."""
        columns = tuple(columns)
        try:
            values = [float(self.cells[name]) for name in columns]
        except ValueError:
            values = [math.nan]
        # A file holds thousands, so that only what is wrong is looked at one by one.
        if all(least <= value <= LARGEST for value in values):
            return values
        return [self.number_of(name, least=least) for name in columns]


@cache
def _cells_of(kind: Any) -> dict[str, tuple[Any, Cell, bool]]:
    """Of each field of a dataclass its type, its Cell, and whether it may be None."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: _cell_of(hints[field.name]) for field in fields(kind)}


def _cell_of(hint: Any) -> tuple[Any, Cell, bool]:
    kind, cell = get_args(hint) if get_origin(hint) is Annotated else (hint, Cell())
    if NoneType not in get_args(kind):
        return kind, cell, False
    (kind,) = (each for each in get_args(kind) if each is not NoneType)
    return kind, cell, True


def _value(row: Row, name: str, kind: Any, cell: Cell, may_be_none: bool) -> Any:
    """What a field of type `kind` is in a row."""
    if may_be_none and not row.cells[name]:
        return None
    if kind is str:
        return row.cells[name] if cell.optional else row.text(name, cell.advice)
    if kind is float:
        return row.number_of(name, least=cell.least, above=cell.above, most=cell.most, unit=cell.unit)
    if kind is int:
        return row.whole(name, least=int(cell.least), most=int(cell.most))
    if kind is bool:
        return row.one_of(name, _WORDS) == "true"
    if get_origin(kind) is Literal:
        return row.one_of(name, get_args(kind))
    assert get_origin(kind) is tuple, f"{name}: no cell holds a {kind}"
    return tuple(part for part in row.cells[name].split(";") if part)


def field_names(kind: type[Any]) -> tuple[str, ...]:
    """The fields of a dataclass: the columns of its records."""
    return tuple(_cells_of(kind))  # type: ignore[arg-type]


def read_records(path: str | Path, kind: type[T]) -> list[T]:
    """The rows of a CSV file whose columns are the fields of a dataclass; see `read_csv` and `Row.record`."""
    return [row.record(kind) for row in read_csv(path, field_names(kind))]


def read_csv(
    path: str | Path,
    columns: Sequence[str] = (),
    *,
    optional: Sequence[str] | None = (),
    advice: Advice | None = None,
    limit: int | None = None,
    growing: bool = False,
) -> Iterator[Row]:
    """The rows, one by one, of a CSV file of at most `limit` bytes; None: as many as any text may have.

    It has all `columns`, and others if `optional` (None: any), in any order. `advice` says what to do about
    a column that is unknown. A file that is still `growing` may end in half a line, which is left out, and
    may hold no rows. Cells come as `to_cell` was given them. Raises ValueError, one line, naming file, row
    and column.
    """
    # Late: a command that only prints must not pay for YAML.
    from hvnas._files import MAX_BYTES, read_text, refusing

    with refusing(path):
        text = read_text(path, limit=MAX_BYTES if limit is None else limit)
        if growing:
            text = text[: text.rfind("\n") + 1]
        if growing and not text:
            return
        escaped, line = "'" in text, None
        for line, cells in parse_csv(text, str(path), columns, optional=optional, advice=advice):
            yield Row(str(path), line, _unescaped(cells) if escaped else cells)
        if line is None and not growing:
            raise ValueError(f"{path}: holds a header and no rows; is the file complete?")


def _unescaped(cells: dict[str, str]) -> dict[str, str]:
    return {name: from_cell(cell) for name, cell in cells.items()}


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """A CSV file of `rows` under `columns`, a column that a row lacks empty.

    Without `columns` those of all rows, in the order in which they come.
    """
    rows = list(rows)
    if columns is None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
    assert all(row.keys() <= set(columns) for row in rows)
    lines = [columns, *([row.get(name, "") for name in columns] for row in rows)]
    return "".join(map(csv_line, lines))


def csv_line(values: Iterable[Any]) -> str:
    """One line of a CSV file."""
    text = io.StringIO(newline="")
    # The writer quotes the characters of its own line break, and a lone carriage return has to be.
    csv.writer(text, lineterminator="\r\n").writerow(map(to_cell, values))
    return text.getvalue().removesuffix("\r\n") + "\n"


def to_cell(value: Any) -> Any:
    """`value` for a cell of CSV, such that no spreadsheet takes text for a formula.

    Text that begins as a formula does, and is no number, gets an apostrophe in front, as OWASP advises
    ("CSV Injection"); `from_cell` takes it off again.
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value):
        return f"'{value}"
    return value


def from_cell(text: str) -> str:
    """The text that `to_cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def json_text(data: Any) -> str:
    """`data` as JSON: ASCII only, escapes escaped, null for what is not finite."""
    return json.dumps(_finite(data), indent=2, allow_nan=False, default=str)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column of a table: a value of each record, or its place there, ``published.top1``.

    `shown` is how people see a value that is not None. A `heading` that begins with ``>`` is aligned to the
    right.
    """

    heading: str
    value: str | Callable[[T], Any]
    shown: Callable[[Any], object] = _same

    @property
    def name(self) -> str:
        """What the column is called in CSV."""
        return self.value if isinstance(self.value, str) else self.heading.removeprefix(">")

    def of(self, record: T) -> Any:
        """Return the value of a record; None where a part of it is not there."""
        if not isinstance(self.value, str):
            return self.value(record)
        found: Any = record
        for part in self.value.split("."):
            if found is not None:
                found = found.get(part) if isinstance(found, Mapping) else getattr(found, part)
        return found

    def cell(self, record: T) -> object:
        """Return the value as people see it."""
        value = self.of(record)
        return None if value is None else self.shown(value)


@dataclass(frozen=True)
class Table:
    """Cells under names; a column whose name begins with ``>`` is aligned to the right, None is a dash."""

    names: tuple[str, ...]
    cells: tuple[tuple[object, ...], ...]
    title: str = ""
    id: str = ""

    @classmethod
    def of(
        cls, columns: Sequence[Column[T]], records: Iterable[T], *, title: str = "", id: str = ""
    ) -> Table:
        """The table of `records`, a row each."""
        cells = tuple(tuple(column.cell(record) for column in columns) for record in records)
        return cls(tuple(column.heading for column in columns), cells, title, id)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names as they are shown."""
        return tuple(name.removeprefix(">") for name in self.names)

    @property
    def right(self) -> tuple[int, ...]:
        """Which columns are aligned to the right."""
        return tuple(i for i, name in enumerate(self.names) if name.startswith(">"))

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The cells as they are shown."""
        return tuple(tuple(_NOTHING if c is None else str(c) for c in row) for row in self.cells)

    def to_html(self) -> str:
        """Return the table as HTML, for notebooks."""

        def line(tag: str, texts: Iterable[str]) -> str:
            sides = ("right" if i in self.right else "left" for i in range(len(self.names)))
            return "".join(
                f'<{tag} style="text-align: {side}">{escape(text)}</{tag}>'
                for side, text in zip(sides, texts, strict=True)
            )

        body = "".join(f"<tr>{line('td', row)}</tr>" for row in self.rows)
        caption = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        head = f"<thead><tr>{line('th', self.columns)}</tr></thead>"
        return f"<table>{caption}{head}<tbody>{body}</tbody></table>"


def html_of(rows: Iterable[Mapping[str, Any]], *, caption: str = "") -> str:
    """A table of HTML for notebooks, a row each under the names that they have; None is a dash."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = tuple(tuple(row.get(name) for name in names) for row in rows)
    right = {name for name in names if all(_is_amount(row.get(name)) for row in rows)}
    return Table(tuple(f">{n}" if n in right else n for n in names), cells, title=caption).to_html()


def _is_amount(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def csv_of(columns: Sequence[Column[T]], records: Iterable[T]) -> str:
    """`records` as CSV, a line each; of a list the parts with semicolons between them."""
    rows = ({column.name: _plain(column.of(record)) for column in columns} for record in records)
    return csv_text(rows, [column.name for column in columns])


def _plain(value: Any) -> Any:
    return "; ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
