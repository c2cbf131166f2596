"""CSV tables with fixed columns: read strictly, every complaint with its file and row."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvnas._files import from_cell, read_text

_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table: its line in the file, the header being 1, and its cells by column."""

    number: int
    cells: dict[str, str]


def read_table(
    path: str | Path, columns: Sequence[str], *, advice: Callable[[str], str] | None = None
) -> list[Line]:
    """The rows of a CSV file with exactly the `columns`, in any order.

    `advice` says what to do about a column of another name. Raises ValueError naming file, row and
    column: columns that are missing, unknown or there twice, and rows of another length than the header.
    """
    # Spreadsheets begin "CSV UTF-8" with a mark of byte order.
    text = read_text(path).removeprefix("\ufeff")
    # Where the comma is the decimal mark, spreadsheets separate by semicolons.
    semicolons = ";" in text.partition("\n")[0] and "," not in text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text), delimiter=";" if semicolons else ",", strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        _check_header(header, columns, path, advice or (lambda _: f"the columns are {', '.join(columns)}"))
        rows = [_line(header, row, lines.line_num, path) for row in lines if any(map(str.strip, row))]
    except csv.Error as error:
        raise ValueError(f"{path}: row {lines.line_num}: not valid CSV: {error}") from None
    if semicolons:
        rows = [Line(row.number, {k: _pointed(cell) for k, cell in row.cells.items()}) for row in rows]
    if not rows:
        raise ValueError(f"{path}: holds a header and no rows; is the file whole?")
    return rows


def number(text: str, where: str, *, of: str = "") -> float:
    """A finite number out of a cell. Raises ValueError beginning with `where`; `of` names the unit."""
    unit = f" of {of}" if of else ""
    try:
        value = float(text)
    except ValueError:
        hint = " without a unit" if of and any(char.isdigit() for char in text) else ""
        if _DECIMAL_COMMA.fullmatch(text):
            hint = f" with a decimal point, as {text.replace(',', '.')}"
        raise ValueError(f"{where}: must be a number{unit}{hint}, got {text!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"{where}: must be a finite number{unit}, got {text}")
    return value


def whole(text: str, where: str) -> int:
    """A whole number >= 1 out of a cell. Raises ValueError beginning with `where`."""
    value = number(text, where)
    if value < 1 or value != int(value):
        raise ValueError(f"{where}: must be a whole number >= 1, got {text}")
    return int(value)


def _pointed(cell: str) -> str:
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell


def _check_header(
    header: list[str], columns: Sequence[str], path: str | Path, advice: Callable[[str], str]
) -> None:
    where = f"{path}: row 1"
    if not header:
        raise ValueError(f"{path}: is empty; the first row must be {','.join(columns)}")
    if len(header) == 1 and any(char in header[0] for char in ";\t"):
        raise ValueError(f"{where}: columns are not separated by commas; save the table with commas")
    for name in header:
        if header.count(name) > 1:
            raise ValueError(f"{where}: {name}: this column stands twice; keep one")
        if name not in columns:
            raise ValueError(f"{where}: {name or 'a column without a name'}: unknown column; {advice(name)}")
    for name in columns:
        if name not in header:
            raise ValueError(f"{where}: {name}: missing column; there must be {', '.join(columns)}")


def _line(header: list[str], row: list[str], line: int, path: str | Path) -> Line:
    if len(row) != len(header):
        raise ValueError(
            f"{path}: row {line}: {len(row)} fields where the header has {len(header)}; is the file whole?"
        )
    return Line(line, {name: from_cell(cell.strip()) for name, cell in zip(header, row, strict=True)})
