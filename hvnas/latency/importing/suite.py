"""The manifest of an exported suite: which model file is which entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from hvnas._clean import shortened
from hvnas._files import read_csv
from hvnas._names import unknown_name
from hvnas.latency.measurements import Kind
from hvnas.latency.rows import LARGEST_SIDE

FIELDS = ("file", "kind", "key", "resolution", "depth")


@dataclass(frozen=True, slots=True)
class Entry:
    """One exported model: the stem of its file's name, and what it is a measurement of."""

    file: str
    kind: Kind
    key: str
    resolution: int


def read_suite(path: str | Path) -> dict[str, Entry]:
    """The entries of a suite by the stem of their file.

    Raises ValueError naming file, row and field.
    """
    entries: dict[str, Entry] = {}
    for row in read_csv(path, FIELDS):
        file, key = (row.text(name, "the suite says what each file is") for name in ("file", "key"))
        if file in entries:
            raise row.refusal("file", f"{shortened(file, 60)} stands twice; the suite says what each file is")
        kind = cast(Kind, row.one_of("kind", get_args(Kind)))
        entries[file] = Entry(file, kind, key, row.whole("resolution", most=LARGEST_SIDE))
    return entries


def find_entry(entries: dict[str, Entry], names: Sequence[str], *, path: Path, suite: Path) -> Entry:
    """The entry that one of `names` belongs to. Raises ValueError where none does, or several do."""
    found = {name: entries[name] for name in names if name in entries}
    if not found:
        known = unknown_name(f"file of {suite}", names[0], tuple(entries))
        raise ValueError(f"{path}: {known}; give --key")
    if len(set(found.values())) > 1:
        either = shortened(" or ".join(found), 200)
        raise ValueError(f"{path}: is it {either} of {suite}? Give --key for this file")
    return next(iter(found.values()))
