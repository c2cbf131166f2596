"""Times of blocks and of whole networks, beside the ops of a table: a CSV that grows row by row."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from hvnas._files import read_text
from hvnas.latency.table import number

FIELDS = ("kind", "key", "ms", "spread", "macs")
BLOCK, NETWORK = "block", "network"


@dataclass(frozen=True, slots=True)
class WholeTime:
    """One block's time without the call's, or one network's with it; `key` is the block's name or a hash.

    `spread` in milliseconds is the range of the rounds.
    """

    kind: str
    key: str
    ms: float
    spread: float
    macs: int


def header() -> str:
    """The first line of such a file."""
    return ",".join(FIELDS) + "\n"


def whole_line(row: WholeTime) -> str:
    """The line of a row."""
    return f"{row.kind},{row.key},{row.ms:.6g},{row.spread:.3g},{row.macs}\n"


def read_whole_rows(path: str | Path) -> tuple[WholeTime, ...]:
    """The whole lines of a file. Raises ValueError naming file, row and column."""
    text = read_text(path)
    lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))
    if (found := tuple(next(lines, ()))) != FIELDS:
        raise ValueError(f"{path}: row 1: the columns must be {','.join(FIELDS)}, got {','.join(found)}")
    rows, seen = [], dict[tuple[str, str], int]()
    for line, cells in enumerate(lines, start=2):
        where = f"{path}: row {line}"
        if len(cells) != len(FIELDS):
            raise ValueError(f"{where}: {len(cells)} fields where the header has {len(FIELDS)}")
        kind, key, *numbers = cells
        if kind not in (BLOCK, NETWORK):
            raise ValueError(f"{where}: kind: must be {BLOCK} or {NETWORK}, got {kind!r}")
        ms, spread, macs = (number(v, f"{where}: {n}") for v, n in zip(numbers, FIELDS[2:], strict=True))
        if kind == NETWORK and ms <= 0:
            raise ValueError(f"{where}: ms: must be > 0, got {numbers[0]}")
        first = seen.setdefault((kind, key), line)
        if first != line:
            raise ValueError(f"{path}: rows {first} and {line}: {key} twice; keep the right one")
        rows.append(WholeTime(kind, key, ms, spread, int(macs)))
    return tuple(rows)
