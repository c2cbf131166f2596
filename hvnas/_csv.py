"""CSV tables with known columns: read strictly, each complaint with its file, row and column."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from hvnas._names import shown

# What a cell of a spreadsheet holds at most.
MAX_CELL = 32_767
MAX_COLUMNS = 10_000
MAX_ROWS = 250_000
# Beyond it nothing was measured or counted.
LARGEST = 1e15

_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")

Advice = Callable[[str], str]


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
                column, f"must be a whole number >= {least}, got {shown_number(self.cells[column])}"
            )
        if value > most:
            raise self.refusal(column, f"must be at most {most}, got {shown_number(self.cells[column])}")
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


def number(
    text: str,
    *,
    least: float = -LARGEST,
    above: float | None = None,
    most: float = LARGEST,
    unit: str = "",
) -> float:
    """A finite number out of a cell; see `Row.number_of`. Raises ValueError, which names no cell."""
    of = f" of {unit}" if unit else ""
    try:
        value = float(text)
    except ValueError:
        hint = " without a unit" if unit and any(char.isdigit() for char in text) else ""
        if len(text) < 40 and _DECIMAL_COMMA.fullmatch(text):
            hint = f" with a decimal point, as {text.replace(',', '.')}"
        raise ValueError(f"must be a number{of}{hint}, got {shown(text)}") from None
    if least <= value <= most and (above is None or value > above):
        return value
    got = shown_number(text)
    if not math.isfinite(value):
        raise ValueError(f"must be a finite number{of}, got {got}")
    if above is not None and value <= above:
        raise ValueError(f"must be > {above:g}, got {got}")
    if value < least:
        raise ValueError(f"must be >= {least:g}, got {got}")
    raise ValueError(f"must be at most {most:g}, got {got}")


def shown_number(text: str) -> str:
    """A cell that holds a number, as messages show it."""
    return text if len(text) <= 40 else f"{text[:37]}..."


def parse_csv(
    text: str,
    path: str,
    columns: Sequence[str],
    *,
    optional: Sequence[str] | None = (),
    advice: Advice | None = None,
) -> Iterator[Row]:
    """The rows, one by one, of a table that has all `columns`, and others if `optional` (None: any).

    Columns come in any order; rows that are empty, and columns without a name and a cell, are none. Where
    the first line is divided by semicolons, commas are decimal marks. `advice` says what to do about a
    column that is unknown. Raises ValueError, one line with `path`, row and column.
    """
    first = text.partition("\n")[0]
    mark = ";" if ";" in first and "," not in first else ","
    _check_text(text, first.count(mark), path)
    records = _records(text, mark, path)
    header = [name.strip() for name in next(records, (1, [""]))[1]]
    while header and not header[-1]:
        header.pop()
    _check_header(header, columns, optional, path, advice)
    for number, cells in records:
        if any(map(str.strip, cells)):
            row = _row(header, cells, number, path)
            yield _pointed(row) if mark == ";" else row


def _check_text(text: str, marks: int, path: str) -> None:
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise ValueError(f"{path}: row {line}: holds a NUL byte; the file is damaged")
    if marks >= MAX_COLUMNS:
        raise ValueError(f"{path}: row 1: more than {MAX_COLUMNS:,} columns; this is not a file of ours")
    if text.count("\n") > MAX_ROWS:
        raise ValueError(f"{path}: more than {MAX_ROWS:,} rows; this is not a file of ours")


def _records(text: str, mark: str, path: str) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each record."""
    reader = csv.reader(io.StringIO(text), delimiter=mark, strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(_unreadable(text, mark, path, header, line, error)) from None
        if cells is None:
            return
        if len(cells) > MAX_COLUMNS:
            raise ValueError(
                f"{path}: row {line}: more than {MAX_COLUMNS:,} fields; is a line break missing?"
            )
        if cells and len(max(cells, key=len)) > MAX_CELL:
            raise ValueError(_long_cell(text, mark, path, header, line))
        header = header or cells
        yield line, cells


def _unreadable(text: str, mark: str, path: str, header: list[str], line: int, error: csv.Error) -> str:
    if "field larger" in str(error):
        return _long_cell(text, mark, path, header, line)
    if "unexpected end" in str(error):
        return f"{path}: row {line}: not valid CSV: a quote is not closed; is the file whole?"
    return f"{path}: row {line}: not valid CSV: {error}"


def _long_cell(text: str, mark: str, path: str, header: list[str], line: int) -> str:
    start = 0
    for _ in range(line - 1):
        start = text.index("\n", start) + 1
    at = _column_of_long_cell(text[start:], mark)
    column = shown_number(header[at]) if at < len(header) else f"column {at + 1}"
    return (
        f"{path}: row {line}: {column}: a cell of more than {MAX_CELL:,} characters; is a quote not closed?"
    )


def _column_of_long_cell(text: str, mark: str) -> int:
    at = length = 0
    for i, part in enumerate(text.split('"')):
        # Every second part lies between quotes, where nothing divides.
        for k, piece in enumerate([part] if i % 2 else part.split(mark)):
            at, length = (at + 1, 0) if k else (at, length)
            length += len(piece)
            if length > MAX_CELL:
                return at
    return at


def _check_header(
    header: list[str],
    columns: Sequence[str],
    optional: Sequence[str] | None,
    path: str,
    advice: Advice | None,
) -> None:
    where = f"{path}: row 1"
    if not header:
        first = f"the first row must be {_listed(columns)}" if columns else "it must hold a table"
        raise ValueError(f"{path}: is empty; {first}")
    if len(header) == 1 and any(char in header[0] for char in ";\t"):
        raise ValueError(f"{where}: columns are not separated by commas; save the table with commas")
    there = set(header)
    missing = [name for name in columns if name not in there]
    said = f"missing column; there must be {_listed(columns)}"
    # Where more columns may be there, what is missing says more than what is unknown.
    if missing and optional != ():
        raise ValueError(f"{where}: {missing[0]}: {said}")
    known = None if optional is None else {*columns, *optional}
    seen: set[str] = set()
    for name in header:
        if name in seen:
            raise ValueError(f"{where}: {_named(name)}: this column appears twice; keep one")
        seen.add(name)
        if not name or (known is not None and name not in known):
            others = (*columns, *(optional or ()))
            cure = advice(name) if advice else f"the columns are {_listed(others)}"
            raise ValueError(f"{where}: {_named(name)}: unknown column; {cure}")
    if missing:
        raise ValueError(f"{where}: {missing[0]}: {said}")


def _named(name: str) -> str:
    """A column's name in a message."""
    return shown_number(name) or "a column without a name"


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= 240 else f"{text[: text.rindex(', ', 0, 230)]} and more"


def _row(header: list[str], cells: list[str], line: int, path: str) -> Row:
    if len(cells) > len(header) and not any(map(str.strip, cells[len(header) :])):
        cells = cells[: len(header)]
    if len(cells) != len(header):
        raise ValueError(
            f"{path}: row {line}: {len(cells)} fields where the header has {len(header)}; is the file whole?"
        )
    return Row(path, line, dict(zip(header, map(str.strip, cells), strict=True)))


def _pointed(row: Row) -> Row:
    cells = {name: _with_point(cell) for name, cell in row.cells.items()}
    return Row(row.path, row.number, cells)


def _with_point(cell: str) -> str:
    return cell.replace(",", ".") if len(cell) < 40 and _DECIMAL_COMMA.fullmatch(cell) else cell
