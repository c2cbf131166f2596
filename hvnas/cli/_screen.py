"""Printing: styled on a terminal, plain lines elsewhere; nothing from a file reaches a terminal raw."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from hvnas._clean import clean
from hvnas.cli._verbosity import is_quiet, is_verbose

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Screen", "clean", "print_json"]

_NOTHING = "–"


class Screen:
    """Standard output, or standard error where `errors` is True.

    Styles and table rules appear on a terminal only; elsewhere every row is one line, however long.
    """

    def __init__(self, *, errors: bool = False) -> None:
        self._errors = errors

    @property
    def _stream(self) -> TextIO:
        return sys.stderr if self._errors else sys.stdout

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches: a terminal that can do more than append lines."""
        return self._stream.isatty() and os.environ.get("TERM") != "dumb"

    @cached_property
    def console(self) -> Console:
        """rich's console, for a terminal."""
        from rich.console import Console

        return Console(file=self._stream, highlight=False, markup=False, emoji=False)

    def line(self, text: object = "", *, style: str = "") -> None:
        """One line. `style` is rich's, for a terminal."""
        if not self.is_terminal:
            print(clean(text), file=self._stream)
            return
        from rich.text import Text

        self.console.print(Text(clean(text), style=style), soft_wrap=True)

    def remark(self, text: object) -> None:
        """One line on how it goes, which is no result: ``-q`` leaves it out."""
        if not is_quiet():
            self.line(text)

    def heading(self, text: str) -> None:
        """A line above what it names, with an empty line before it."""
        self.line()
        self.line(text, style="bold")

    def fields(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Names and values, one pair per line."""
        shown = [(name, value) for name, value in pairs if value is not None]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            self.line(f"  {name:<{width}}  {value}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table. A column whose name starts with ``>`` is aligned to the right; None is a dash."""
        names = [clean(name.removeprefix(">")) for name in columns]
        right = [name.startswith(">") for name in columns]
        cells = [[_NOTHING if cell is None else clean(cell) for cell in row] for row in rows]
        if self.is_terminal:
            self._rich_table(names, right, cells)
            return
        widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
        for row in [names, *cells]:
            padded = zip(row, widths, right, strict=True)
            self.line("  " + "  ".join(f"{c:>{w}}" if r else f"{c:<{w}}" for c, w, r in padded).rstrip())

    def _rich_table(self, names: list[str], right: list[bool], cells: list[list[str]]) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name, is_right in zip(names, right, strict=True):
            table.add_column(Text(name), justify="right" if is_right else "left", overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        self.console.print(table)


class ScreenHandler(logging.Handler):
    """Shows log records as remarks on standard error; under ``-v`` another handler shows all logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        if not is_verbose():
            Screen(errors=True).remark(record.getMessage())


def print_json(data: Any) -> None:
    """`data` as JSON on standard output: ASCII only, escapes escaped, null for what is not finite."""
    print(json.dumps(_finite(data), indent=2, allow_nan=False, default=str))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
