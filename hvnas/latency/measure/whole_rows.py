"""Times of blocks and of whole networks, beside the ops of a table: a CSV that grows row by row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hvnas._clean import shortened
from hvnas._csv import Row
from hvnas._files import read_csv
from hvnas.latency.rows import LONGEST_MS

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
    rows, seen = [], dict[tuple[str, str], int]()
    for line in read_csv(path, FIELDS, growing=True):
        row = _row(line)
        first = seen.setdefault((row.kind, row.key), line.number)
        if first != line.number:
            twice = shortened(row.key, 60)
            raise ValueError(f"{path}: rows {first} and {line.number}: {twice} twice; keep the right one")
        rows.append(row)
    return tuple(rows)


def _row(row: Row) -> WholeTime:
    kind = row.one_of("kind", (BLOCK, NETWORK))
    # A block's time is a difference, which noise may turn round.
    above = 0 if kind == NETWORK else None
    return WholeTime(
        kind,
        row.text("key"),
        row.number_of("ms", above=above, least=-LONGEST_MS, most=LONGEST_MS),
        row.number_of("spread", least=0, most=LONGEST_MS),
        row.whole("macs", least=0, most=10**15),
    )
