"""The growing files of a table that is being measured: what is on the disk stays, whatever happens."""

from __future__ import annotations

import os
from pathlib import Path

from hvnas._files import MAX_BYTES, open_regular
from hvnas.latency.measure import whole_rows
from hvnas.latency.measure.whole_rows import WholeTime, read_whole_rows, whole_line
from hvnas.latency.op_rows import OpTime, header, op_lines, read_op_rows


class Journal:
    """Rows of ops (`NAME.csv`) and of blocks and networks (`NAME.whole.csv`), appended and synced at once.

    Opening it again continues it; half a line at the end, which a kill or a full disk leaves, goes.
    """

    def __init__(self, yaml: Path) -> None:
        self.ops_path, self.whole_path = yaml.with_suffix(".csv"), yaml.with_suffix(".whole.csv")
        for path, first in ((self.ops_path, header()), (self.whole_path, whole_rows.header())):
            _repair(path, first)
        self.ops = read_op_rows(self.ops_path, growing=True)
        self.wholes = read_whole_rows(self.whole_path)

    def add_ops(self, rows: list[OpTime]) -> None:
        """Append rows of ops. Raises ValueError, one line, where they cannot be kept."""
        _append(self.ops_path, op_lines(rows))
        self.ops = (*self.ops, *rows)

    def add_whole(self, row: WholeTime) -> None:
        """Append a block or a network. Raises ValueError, one line, where it cannot be kept."""
        _append(self.whole_path, whole_line(row))
        self.wholes = (*self.wholes, row)


def _repair(path: Path, first: str) -> None:
    data = b""
    if path.exists():
        with open_regular(path, limit=MAX_BYTES) as file:
            data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    if not whole:
        _write(path, "wb", first)
    elif whole.partition(b"\n")[0].strip() != first.strip().encode():
        raise ValueError(f"{path}: row 1: what is added has the columns {first.strip()}; move the file away")
    elif whole != data:
        with path.open("r+b") as file:
            file.truncate(len(whole))


def _append(path: Path, text: str) -> None:
    _write(path, "ab", text)


def _write(path: Path, mode: str, text: str) -> None:
    try:
        with path.open(mode) as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ValueError(
            f"{path}: {error.strerror}; what was measured is kept: make room and run the command again"
        ) from None
