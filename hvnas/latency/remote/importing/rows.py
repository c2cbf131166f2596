"""From what a tool's file says, a suite's manifest and what its user adds, to rows of measurements."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from hvnas._files import refusing
from hvnas._names import unknown_name
from hvnas._numbers import shortened
from hvnas._records import Cell, read_csv
from hvnas.latency.remote.importing.reading import Fact, Format, Reading
from hvnas.latency.remote.measurements import (
    Kind,
    ModelMeasurement,
    check_rows,
    needs_threads,
    read_measurements,
)
from hvnas.latency.rows import Side

PROVENANCE = ("device", "os", "runtime", "runtime_version", "compute_unit", "precision", "threads", "batch")


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a user says of the files that are imported.

    `key` names what they measure, or `suite` is the manifest of an exported suite to look that up in by
    the file's name; `facts` are columns by name. What a file states may be repeated, not contradicted.
    """

    key: str | None = None
    kind: Kind = "model"
    suite: Path | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """The rows that came of one file."""

    path: Path
    rows: tuple[ModelMeasurement, ...]


def import_files(
    paths: Sequence[str | Path], form: Format, *, given: Given, out: str | Path
) -> tuple[Source, ...]:
    """Return the rows of each of `paths`, for a table at `out`: paths of architectures are relative to it.

    Raises ValueError, one line, naming the file: what the format's reader refuses, a model that is not
    known, facts that are missing (with the option that gives them) or contradicted, and files that do not
    belong in one table.
    """
    if given.key is not None and len(paths) > 1:
        raise ValueError(
            f"--key names one model, but there are {len(paths)} files; give --suite, or one file"
        )
    sources = []
    for path in map(Path, paths):
        with refusing(path):
            rows = [_row(reading, path, given, Path(out)) for reading in form.read(path)]
        sources.append(Source(path, tuple(rows)))
    everything = [(row, str(source.path)) for source in sources for row in source.rows]
    check_rows([row for row, _ in everything], [label for _, label in everything])
    return tuple(sources)


@dataclass(frozen=True, slots=True)
class _MeasuredModel:
    """What was measured: `facts` are kind, key and, where a suite tells it, resolution.

    `resolution` is the one that the model is made for; `said_by` is where the facts are from.
    """

    facts: Mapping[str, Fact]
    said_by: str
    resolution: int | None = None


def _row(reading: Reading, path: Path, given: Given, out: Path) -> ModelMeasurement:
    measured = _measured(reading, path, given, out)
    stated = {name: value for name, value in reading.stated.items() if name not in ("kind", "key")}
    facts = _agreed(stated, measured.facts, path, said_by=measured.said_by)
    asked = {name: value for name, value in given.facts.items() if name not in ("protocol", "source")}
    facts = _agreed(facts, asked, path, said_by="the command line")
    facts.setdefault("resolution", measured.resolution)
    facts["source"] = given.facts.get("source") or facts.get("source") or path.name
    facts["protocol"] = given.facts.get("protocol") or reading.protocol
    _refuse_missing(facts, path)
    facts.setdefault("threads", None)
    try:
        return ModelMeasurement(
            ms=reading.ms,
            spread=reading.spread,
            n=reading.n,
            statistic=reading.statistic,
            **cast(dict[str, Any], facts),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _measured(reading: Reading, path: Path, given: Given, out: Path) -> _MeasuredModel:
    facts: dict[str, Fact]
    if "key" in reading.stated:
        if given.key is not None or given.suite is not None:
            raise ValueError(f"{path}: the file says what each row measures; leave out --key and --suite")
        facts, said_by, base = {n: reading.stated[n] for n in ("kind", "key")}, "the row", path.parent
    elif given.key is not None:
        facts, said_by, base = {"kind": given.kind, "key": given.key}, "the command line", Path()
    elif given.suite is not None:
        entry = find_entry(read_suite(given.suite), reading.names, path=path, suite=given.suite)
        facts = {"kind": entry.kind, "key": entry.key, "resolution": entry.resolution}
        said_by, base = str(given.suite), given.suite.parent
    else:
        raise ValueError(f"{path}: which model is this? Give --key NAME, or --suite FILE to look it up in")
    if facts["kind"] != "model":
        return _MeasuredModel(facts, said_by)
    key, resolution = _model(str(facts["key"]), base, out, path)
    return _MeasuredModel(facts | {"key": key}, said_by, resolution)


def _model(key: str, base: Path, out: Path, path: Path) -> tuple[str, int]:
    """A model's key as a table at `out` says it, and the resolution it is made for."""
    from hvnas.arch import load_arch

    is_file = Path(key).suffix in (".yaml", ".yml")
    try:
        arch = load_arch(base / key if is_file else key)
    except ValueError as error:
        raise ValueError(f"{path}: key: {error}") from None
    if is_file:
        key = Path(os.path.relpath(base / key, out.parent)).as_posix()
    return key, arch.resolution


def _agreed(
    stated: Mapping[str, Fact], said: Mapping[str, Fact], path: Path, *, said_by: str
) -> dict[str, Fact]:
    """Both together, without what is None. Raises ValueError where they differ."""
    facts: dict[str, Fact] = {name: value for name, value in stated.items() if value is not None}
    for name, value in said.items():
        known = facts.get(name, value)
        if value is not None and str(known).casefold() != str(value).casefold():
            says, other = shortened(known, 60), shortened(value, 60)
            raise ValueError(f"{path}: {name}: the file says {says}, {said_by} says {other}; which is it?")
        if value is not None:
            facts.setdefault(name, value)
    return facts


def _refuse_missing(facts: Mapping[str, Fact], path: Path) -> None:
    wanted = [name for name in PROVENANCE if name != "threads"]
    if needs_threads(str(facts.get("runtime", "")), str(facts.get("compute_unit", ""))):
        wanted.append("threads")
    missing = [name for name in (*wanted, "resolution") if facts.get(name) in (None, "")]
    if missing:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        named = ", ".join(name.replace("_", " ") for name in missing)
        raise ValueError(f"{path}: does not say {named}; give {options}")


FIELDS = ("file", "kind", "key", "resolution", "depth")
_Named = Annotated[str, Cell(advice="the suite says what each file is")]


@dataclass(frozen=True, slots=True)
class Entry:
    """One exported model: the stem of its file's name, and what it is a measurement of."""

    file: _Named
    kind: Kind
    key: _Named
    resolution: Side


def read_suite(path: str | Path) -> dict[str, Entry]:
    """Return the entries of a suite by the stem of their file.

    Raises ValueError naming file, row and field.
    """
    entries: dict[str, Entry] = {}
    for row in read_csv(path, FIELDS):
        entry = row.record(Entry)
        if entry.file in entries:
            raise row.refusal(
                "file", f"{shortened(entry.file, 60)} appears twice; the suite says what each file is"
            )
        entries[entry.file] = entry
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


SUMMARY = ("ms", "statistic", "spread", "n", "protocol")


def read(path: Path) -> Sequence[Reading]:
    """Every row of the file. Raises ValueError naming file, row and field."""
    return [_reading(row) for row in read_measurements(path)]


def _reading(row: ModelMeasurement) -> Reading:
    names = [name for name in ModelMeasurement.__dataclass_fields__ if name not in SUMMARY]
    return Reading(
        ms=row.ms,
        statistic=row.statistic,
        spread=row.spread,
        n=row.n,
        protocol=row.protocol,
        stated={name: getattr(row, name) for name in names},
    )
