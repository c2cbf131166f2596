"""The manifest of an exported suite: which model file is which entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvnas._names import unknown_name
from hvnas.latency.measurements import Kind, kind_of
from hvnas.latency.table import read_table, whole

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
    for line in read_table(path, FIELDS):
        where, cells = f"{path}: row {line.number}", line.cells
        for name in ("file", "key"):
            if not cells[name]:
                raise ValueError(f"{where}: {name}: is empty; the suite says what each file is")
        if cells["file"] in entries:
            raise ValueError(f"{where}: file: {cells['file']} stands twice; the suite says what each file is")
        resolution = whole(cells["resolution"], f"{where}: resolution")
        try:
            kind = kind_of(cells["kind"])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        entries[cells["file"]] = Entry(cells["file"], kind, cells["key"], resolution)
    return entries


def find_entry(entries: dict[str, Entry], names: Sequence[str], *, path: Path, suite: Path) -> Entry:
    """The entry that one of `names` belongs to. Raises ValueError where none does, or several do."""
    found = {name: entries[name] for name in names if name in entries}
    if not found:
        known = unknown_name(f"file of {suite}", names[0], tuple(entries))
        raise ValueError(f"{path}: {known}; give --key")
    if len(set(found.values())) > 1:
        raise ValueError(f"{path}: is it {' or '.join(found)} of {suite}? Give --key for this file")
    return next(iter(found.values()))
