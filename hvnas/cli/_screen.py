"""Printing: what is shown, how much of it (``-q``, ``-v``), and files that a command writes."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, TypeVar

import typer

from hvnas._numbers import clean
from hvnas._records import Column, Table, csv_of, csv_text, json_text
from hvnas.cli._failure import Failure

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "QUIET",
    "VERBOSE",
    "Answer",
    "Form",
    "JsonOption",
    "Screen",
    "check_output",
    "clean",
    "hoisted",
    "is_quiet",
    "is_verbose",
    "listing",
    "print_answer",
    "print_json",
    "set_verbosity",
    "writing",
    "written",
    "written_answer",
]


T = TypeVar("T")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]
Form = Literal["text", "json", "csv"]

QUIET, VERBOSE = ("-q", "--quiet"), ("-v", "--verbose")
# Columns of prose where there is no terminal.
_COLUMNS = 80


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

    def prose(self, text: object, *, before: str = "") -> None:
        """A paragraph behind `before`, broken between words: as wide as the terminal, or 80 columns."""
        columns = shutil.get_terminal_size().columns if self.is_terminal else _COLUMNS
        lines = textwrap.wrap(
            clean(text).replace(" %", "\u00a0%"),
            width=max(columns, 2 * len(before)),
            initial_indent=before,
            subsequent_indent=" " * len(before),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines:
            self.line(line.replace("\u00a0", " "))

    def heading(self, text: str) -> None:
        """A line above what it names, with an empty line before it."""
        self.line()
        self.line(text, style="bold")

    def fields(self, pairs: Iterable[tuple[str, object]], *, prose: bool = False) -> None:
        """Names and values, one pair per line; values that are `prose` are broken as `prose` breaks them."""
        shown = [(name, value) for name, value in pairs if value is not None]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            before = f"  {name:<{width}}  "
            if prose:
                self.prose(value, before=before)
            else:
                self.line(f"{before}{value}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table. A column whose name starts with ``>`` is aligned to the right; None is a dash."""
        self.show(Table(tuple(columns), tuple(map(tuple, rows))))

    def show(self, table: Table) -> None:
        """A table without its title."""
        names = list(map(clean, table.columns))
        right = [i in table.right for i in range(len(names))]
        cells = [list(map(clean, row)) for row in table.rows]
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
    print(json_text(data))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command says: `text` prints it for people, `data` is the JSON, `csv` a table.

    Each is made only where it is asked for. `code` is the exit code.
    """

    text: Callable[[Screen], None]
    data: Callable[[], Any]
    csv: Callable[[], str]
    code: int = 0


def listing(
    columns: Sequence[Column[T]],
    records: Sequence[T],
    *,
    data: Callable[[T], Any] = lambda record: record,
    line: Callable[[T], Mapping[str, Any]] | None = None,
    below: Callable[[Screen], None] = lambda screen: None,
    code: int = 0,
) -> Answer:
    """The answer that is a table of `records`, in JSON a list of what `data` makes of them.

    `line` makes a line of CSV where that is more than the columns; `below` prints what follows the table.
    """

    def text(screen: Screen) -> None:
        screen.show(Table.of(columns, records))
        below(screen)

    def csv() -> str:
        return csv_of(columns, records) if line is None else csv_text(map(line, records))

    return Answer(text=text, data=lambda: list(map(data, records)), csv=csv, code=code)


def print_answer(answer: Answer, form: Form) -> None:
    """Print an answer in the form that is asked for; end the command where its exit code is not 0."""
    if form == "json":
        print_json(answer.data())
    elif form == "csv":
        # Nothing in a cell may act on a terminal; its line breaks stay between quotes.
        print("\n".join(map(clean, answer.csv().removesuffix("\n").split("\n"))))
    else:
        answer.text(Screen())
    if answer.code:
        raise typer.Exit(answer.code)


@dataclass
class _Verbosity:
    level: int = 0


_NOW = _Verbosity()


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """For this command; one of them at most. Raises ValueError where both are asked for."""
    if quiet and verbose:
        raise ValueError("-q and -v exclude each other; give only one")
    _NOW.level = int(verbose) - int(quiet)
    if verbose:
        _show_logs()


def is_quiet() -> bool:
    """Whether nothing is to be said but results and errors."""
    return _NOW.level < 0


def is_verbose() -> bool:
    """Whether an error is to show where it comes from."""
    return _NOW.level > 0


def hoisted(args: Sequence[str]) -> list[str]:
    """The arguments with ``-q`` and ``-v`` before the command: they may stand anywhere up to ``--``."""
    end = args.index("--") if "--" in args else len(args)
    flags = [arg for arg in args[:end] if arg in (*QUIET, *VERBOSE)]
    return [*flags, *(arg for arg in args[:end] if arg not in flags), *args[end:]]


def _show_logs() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


def check_output(path: Path) -> None:
    """End the command where no file can come to lie at `path`."""
    from hvnas._files import check_parent

    if path.is_dir():
        raise Failure(f"{path}: is a folder; name a file")
    check_parent(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside, what the system says of temporary files is said of `path`."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Failure(f"{path}: cannot be written: {reason}") from None


def written(out: Path | None, write: Callable[[Path], Sequence[Path]]) -> tuple[Path, ...]:
    """The files that ``write(out)`` leaves, none where nothing is to be written."""
    if out is None:
        return ()
    with writing(out):
        return tuple(write(out))


def written_answer(
    files: Sequence[Path],
    *,
    text: Callable[[Screen], None],
    data: Callable[[], dict[str, Any]],
    csv: Callable[[], str],
) -> Answer:
    """An answer that names the files that were written, if any, below a result."""

    def with_files(screen: Screen) -> None:
        text(screen)
        if files:
            screen.line()
            screen.line("Written: " + ", ".join(map(str, files)))

    return Answer(text=with_files, data=lambda: data() | {"written": list(map(str, files))}, csv=csv)
