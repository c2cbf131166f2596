"""The text of a CSV table, read strictly; `hvnas._records` is the door to it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence

from hvnas._names import listed
from hvnas._numbers import shortened, with_point

# What a cell of a spreadsheet holds at most.
MAX_CELL = 32_767
MAX_COLUMNS = 10_000
MAX_ROWS = 250_000

Advice = Callable[[str], str]


def parse_csv(
    text: str,
    path: str,
    columns: Sequence[str],
    *,
    optional: Sequence[str] | None = (),
    advice: Advice | None = None,
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line, the header's being 1, and cells by column, of each row of a table.

    It has all `columns`, and others if `optional` (None: any).
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
            yield number, {k: with_point(v) for k, v in row.items()} if mark == ";" else row


def _check_text(text: str, marks: int, path: str) -> None:
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise ValueError(f"{path}: row {line}: holds a NUL byte; the file is damaged")
    if marks >= MAX_COLUMNS:
        raise ValueError(f"{path}: row 1: more than {MAX_COLUMNS:,} columns; hvnas did not write this file")
    if text.count("\n") > MAX_ROWS:
        raise ValueError(f"{path}: more than {MAX_ROWS:,} rows; hvnas did not write this file")


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
        return f"{path}: row {line}: not valid CSV: a quote is not closed; is the file complete?"
    return f"{path}: row {line}: not valid CSV: {error}"


def _long_cell(text: str, mark: str, path: str, header: list[str], line: int) -> str:
    start = 0
    for _ in range(line - 1):
        start = text.index("\n", start) + 1
    at = _column_of_long_cell(text[start:], mark)
    column = shortened(header[at], 40) if at < len(header) else f"column {at + 1}"
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
        first = f"the first row must be {listed(columns)}" if columns else "it must hold a table"
        raise ValueError(f"{path}: is empty; {first}")
    if len(header) == 1 and any(char in header[0] for char in ";\t"):
        raise ValueError(f"{where}: columns are not separated by commas; save the table with commas")
    there = set(header)
    missing = [name for name in columns if name not in there]
    said = f"missing column; there must be {listed(columns)}"
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
            cure = advice(name) if advice else f"the columns are {listed(others)}"
            raise ValueError(f"{where}: {_named(name)}: unknown column; {cure}")
    if missing:
        raise ValueError(f"{where}: {missing[0]}: {said}")


def _named(name: str) -> str:
    """A column's name in a message."""
    return shortened(name, 40) or "a column without a name"


def _row(header: list[str], cells: list[str], line: int, path: str) -> dict[str, str]:
    if len(cells) > len(header) and not any(map(str.strip, cells[len(header) :])):
        cells = cells[: len(header)]
    if len(cells) != len(header):
        raise ValueError(
            f"{path}: row {line}: {len(cells)} fields where the header has {len(header)}; "
            "is the file complete?"
        )
    return dict(zip(header, map(str.strip, cells), strict=True))
