"""Measured times as users write and keep them, a documented CSV, and the networks that they are of.

The columns are `FIELDS`; times are milliseconds, always. What a row says of its protocol is what makes
it comparable, so a file holds the rows of one protocol only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

from hvnas._files import write_atomic
from hvnas._names import brief, shown
from hvnas._numbers import shortened
from hvnas._records import Cell, Row, csv_text, field_names, read_csv
from hvnas.arch import Arch, load_arch
from hvnas.latency.rows import LONGEST_MS, MOST, SHORTEST_MS, Side, Text
from hvnas.ops import Program

Kind = Literal["model", "block", "op"]
Statistic = Literal["median", "mean", "minimum"]


# Another unit, or a time that does not say its unit: `us`, `latency_ms`, `Time (s)`.
_TIME = re.compile(
    r"(?:.*[\W_])?(?:n|u|µ|μ|m|micro|milli|nano)?s(?:ec(?:ond)?s?)?\W*|.*(?:latency|time|duration).*",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMeasurement:
    """One measured time and all that one must know to compare it with another.

    `kind` says what `key` names: a model (one of the shipped ones, or the path of an architecture file
    relative to the CSV), a block (an entry of an exported suite) or an op. `resolution` is the side of
    the square input in pixels. `ms` is the `statistic` over `n` runs of one batch, in milliseconds;
    `spread`, in milliseconds, is a standard deviation, or where the runs are known 1.4826 times their
    median absolute deviation. `threads` is None where the runtime leaves no choice, `n` and `spread` where
    the source does not tell. Raises ValueError naming the field.
    """

    kind: Kind
    key: Text
    resolution: Side
    ms: Annotated[float, Cell(unit="milliseconds")]
    spread: Annotated[float | None, Cell(unit="milliseconds")]
    n: Annotated[int | None, Cell(least=1, most=MOST["n"])]
    statistic: Statistic
    device: Text
    os: Text
    runtime: Text
    runtime_version: Text
    compute_unit: Text
    precision: Text
    threads: Annotated[int | None, Cell(least=1, most=MOST["threads"])]
    batch: Annotated[int, Cell(least=1, most=MOST["batch"])]
    protocol: Text
    source: Text

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, get_args(Kind))
        _one_of("statistic", self.statistic, get_args(Statistic))
        for name in TEXT_FIELDS:
            if not getattr(self, name).strip():
                raise ValueError(f"{name}: is empty; a measurement says what it is and where it is from")
            if len(getattr(self, name)) > LONGEST_TEXT:
                raise ValueError(f"{name}: a text of more than {LONGEST_TEXT} characters; shorten it")
        for name, most in MOST.items():
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise ValueError(f"{name}: must be a whole number from 1 to {most}, got {shown(value)}")
        if not self.ms > 0:
            raise ValueError(f"ms: must be a finite number > 0, got {self.ms:g}")
        if not SHORTEST_MS <= self.ms <= LONGEST_MS:
            raise ValueError(f"ms: must be from {SHORTEST_MS:g} to {LONGEST_MS:g}, got {self.ms:g}")
        if self.spread is not None and not 0 <= self.spread <= LONGEST_MS:
            raise ValueError(
                f"spread: must be a finite number >= 0, at most {LONGEST_MS:g}, got {self.spread:g}"
            )
        if self.threads is None and needs_threads(self.runtime, self.compute_unit):
            raise ValueError("threads: is empty; a time on a CPU says on how many threads")


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: must be {' or '.join(allowed)}, got {shown(value)}")


def needs_threads(runtime: str, compute_unit: str) -> bool:
    """Whether a time means nothing without its number of threads: on a CPU, but for Core ML's."""
    return compute_unit.casefold() == "cpu" and runtime.casefold() not in ("coreml", "core ml")


LONGEST_TEXT = 2000
TEXT_FIELDS = (
    "key",
    "device",
    "os",
    "runtime",
    "runtime_version",
    "compute_unit",
    "precision",
    "protocol",
    "source",
)


FIELDS = field_names(ModelMeasurement)
# What the rows of a file have in common; `protocol` is prose and may say more of one row than of another.
SHARED = (
    "device",
    "os",
    "runtime",
    "runtime_version",
    "compute_unit",
    "precision",
    "threads",
    "batch",
    "statistic",
)


def kind_of(text: str) -> Kind:
    """`text` as a kind. Raises ValueError with those there are."""
    _one_of("kind", text, get_args(Kind))
    return cast(Kind, text)


def read_measurements(path: str | Path) -> tuple[ModelMeasurement, ...]:
    """The rows of a CSV file with the columns `FIELDS`, checked; a row that appears twice is one row.

    Raises ValueError naming file, row (the file's line, the header being 1) and field: columns that are
    missing, unknown or in another unit, times that are no number > 0, empty provenance, rows of different
    protocols, and rows of one key that disagree.
    """
    rows: dict[tuple[str, ...], ModelMeasurement] = {}
    labels: list[str] = []
    for line in read_csv(path, FIELDS, advice=_advice_on_column):
        cells = tuple(line.cells.values())
        if cells not in rows:
            rows[cells] = _row(line)
            labels.append(line.where)
    check_rows(list(rows.values()), labels)
    return tuple(dict.fromkeys(rows.values()))


def write_measurements(path: str | Path, rows: Sequence[ModelMeasurement]) -> None:
    """Replace `path` by the CSV of `rows` in one step: `read_measurements` reads the same rows back.

    Raises ValueError, and leaves what was there, where rows do not belong in one file or where the file
    cannot be written.
    """
    if not rows:
        raise ValueError(f"{path}: there are no rows to write")
    check_rows(rows, [f"{path}: row {i}" for i in range(2, len(rows) + 2)])
    try:
        write_atomic(path, csv_text(map(dataclasses.asdict, rows), FIELDS))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"{path}: cannot be written: {reason}; nothing was written") from None


def check_rows(rows: Sequence[ModelMeasurement], labels: Sequence[str]) -> None:
    """Raise ValueError where rows do not belong together; `labels` says where each is from.

    One protocol per file, and one time per key and resolution.
    """
    seen: dict[tuple[str, str, int], int] = {}
    for i, row in enumerate(rows):
        for name in SHARED:
            ours, first = getattr(row, name), getattr(rows[0], name)
            if ours != first:
                here, there = (shortened(value, 60) for value in (ours, first))
                raise ValueError(
                    f"{labels[i]}: {name}: mixed protocols: {here} here, {there} in {_short(labels[0])}; "
                    "keep one protocol per file"
                )
        known = seen.setdefault((row.kind, row.key, row.resolution), i)
        if rows[known].ms != row.ms:
            raise ValueError(
                f"{labels[i]}: ms: {row.ms:g} for {shortened(row.key, 60)} at {row.resolution}, but "
                f"{rows[known].ms:g} in {_short(labels[known])}; {_advice_on_times(row.ms, rows[known].ms)}"
            )


def _short(label: str) -> str:
    return label.rpartition(": ")[2]


def _advice_on_times(ms: float, other: float) -> str:
    ratio = max(ms, other) / min(ms, other)
    if ratio > 300:
        return f"they are {ratio:.0f} times apart: is one of them in other units than milliseconds?"
    return "keep the right one, or the median of both"


def _advice_on_column(name: str) -> str:
    if _TIME.fullmatch(name[:100]):
        return "give milliseconds in the column ms"
    return f"the columns are {', '.join(FIELDS)}"


def _row(row: Row) -> ModelMeasurement:
    try:
        return row.record(ModelMeasurement)
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith(row.where) else f"{row.where}: {said}") from None


@dataclass(frozen=True)
class MeasuredModel:
    """A network and its measured time; `family` is the paper's, or what the network mostly consists of."""

    name: str
    family: str
    arch: Arch
    program: Program
    row: ModelMeasurement

    @property
    def ms(self) -> float:
        """Milliseconds per image: what a device predicts. A measurement's are those of its batch."""
        return self.row.ms / self.row.batch


def read_models(path: str | Path) -> tuple[MeasuredModel, ...]:
    """The whole networks of a measurement file, in its order.

    A key is the name of a model, or the path of a network's YAML file, relative to the measurement file.
    Rows of blocks and ops are not whole networks and are left out. Raises ValueError, one line, where the
    file or a network in it does not load, or where no row is of a whole network.
    """
    path = Path(path)
    models = tuple(network_of(row, path) for row in read_measurements(path) if row.kind == "model")
    if not models:
        raise ValueError(f"{path}: no row is of a whole network; there must be rows of the kind model")
    return models


def network_of(row: ModelMeasurement, path: Path) -> MeasuredModel:
    """The network of a row in the file `path`. Raises ValueError, one line, where it does not load."""
    own = Path(row.key).suffix in (".yaml", ".yml")
    try:
        arch = load_arch(path.parent / row.key if own else row.key)
        sized = arch if arch.resolution == row.resolution else arch.with_(resolution=row.resolution)
        program = sized.lower()
    except ValueError as error:
        key = shortened(row.key, 60)
        raise ValueError(brief(f"{path}: {key} at {row.resolution}: {error}")) from None
    # A file of one's own is told by where it lies: two may well have the same name inside.
    return MeasuredModel(row.key if own else arch.name, family_of(arch), sized, program, row)


def family_of(arch: Arch) -> str:
    """A paper's family, or else the type of block in the stages that takes most MACs."""
    published = (arch.published or {}).get("family")
    if isinstance(published, str):
        return published
    program = arch.lower()
    types = {label: block.type for label, block in arch.parts()}
    macs: dict[str, int] = {}
    for label, op in zip(program.labels, program.ops, strict=True):
        if label.startswith("stages.") and not label.endswith(".downsample"):
            macs[types[label]] = macs.get(types[label], 0) + op.macs
    return max(macs, key=lambda name: macs[name]) if macs else "none"
