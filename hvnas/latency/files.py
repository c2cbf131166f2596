"""Device files: YAML with a CSV of measurements beside it, schema hvnas.device/1."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from hvnas._files import read_text, read_yaml
from hvnas._validation import brief, first_wrong, shown, validated
from hvnas.latency.device import Device, DeviceInfo
from hvnas.latency.gate import Rule
from hvnas.latency.interval import Student
from hvnas.latency.measurements import MOST
from hvnas.latency.model import LinearModel, Term
from hvnas.latency.rows import LONGEST_MS, read_rows

SCHEMA = "hvnas.device/1"
STRICT = {"extra": "forbid", "allow_inf_nan": False}
Method = Literal["measured", "calibrated"]
F = TypeVar("F", bound="DeviceFields")


@dataclass(frozen=True, kw_only=True)
class _Parameters:
    __pydantic_config__: ClassVar[Any] = STRICT
    fixed_ms: float
    terms: list[Term]
    floor: list[Term] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Errors:
    __pydantic_config__: ClassVar[Any] = STRICT
    inside: Student
    outside: Student


@dataclass(frozen=True, kw_only=True)
class DeviceFields:
    """The YAML's fields that every device has, in the order they are written."""

    __pydantic_config__: ClassVar[Any] = STRICT
    schema: str
    name: str
    description: str
    method: Method
    device: str
    soc: str
    os: str
    runtime: str
    runtime_version: str
    compute_unit: str
    precision: str
    threads: int | None
    batch: int
    statistic: str
    tool: str
    date: str
    source: str
    protocol: str
    rows: str
    interval: Errors
    error: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("name", "device", "source", "date", "tool", "rows"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty; a device says what was measured, how, and by whom")
        for name in ("batch", "threads"):
            value, most = getattr(self, name), MOST[name]
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {shown(value)}")
            if value is not None and value > most:
                raise ValueError(f"{name} must be at most {most}, got {shown(value)}")

    @property
    def info(self) -> DeviceInfo:
        """What the numbers are of, and where they come from."""
        return DeviceInfo(**{f.name: getattr(self, f.name) for f in dataclasses.fields(DeviceInfo)})


@dataclass(frozen=True, kw_only=True)
class _CalibratedFile(DeviceFields):
    """A device whose model is a sum of terms."""

    __pydantic_config__: ClassVar[Any] = STRICT
    parameters: _Parameters
    rules: list[Rule]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parameters.fixed_ms < 0:
            raise ValueError(f"parameters.fixed_ms must be >= 0, got {self.parameters.fixed_ms}")
        if self.parameters.fixed_ms > LONGEST_MS:
            raise ValueError(
                f"parameters.fixed_ms must be at most {LONGEST_MS:g}, got {self.parameters.fixed_ms}"
            )
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError("rules: two have the same name; give each its own")


def read_device(path: str | Path) -> Device:
    """A Device from its YAML file and the CSV that it names.

    Raises ValueError, one line, naming the file and the field or row at fault.
    """
    path = Path(path)
    data = read_yaml(path, schema=SCHEMA)
    if data.get("method") == "measured":
        from hvnas.latency.measured_files import measured_device

        return measured_device(path, data)
    return _calibrated(path, data)


def _calibrated(path: Path, data: dict[str, Any]) -> Device:
    parsed = parse_fields(_CalibratedFile, data, path)
    table = table_of(path, parsed.rows)
    rows = read_rows(table)
    parameters = parsed.parameters
    needed = [term.column for term in (*parameters.terms, *parameters.floor)]
    needed += [rule.column for rule in parsed.rules]
    for name in needed:
        if name not in rows[0].values:
            raise ValueError(f"{table}: row 1: {name}: this column is missing; {path.name} uses it")
    return Device(
        name=parsed.name,
        hash=hash_of(data, read_text(table)),
        info=parsed.info,
        model=LinearModel(parameters.fixed_ms, tuple(parameters.terms), tuple(parameters.floor)),
        rules=tuple(parsed.rules),
        inside_error=parsed.interval.inside,
        outside_error=parsed.interval.outside,
        report=parsed.error,
        rows=rows,
    )


def table_of(path: Path, rows: str) -> Path:
    """The CSV that a device file names. Raises ValueError where it names one of another folder."""
    if Path(rows).name != rows or rows == "..":
        raise ValueError(f"{path}: rows: must be the name of a file in the same folder, got {shown(rows)}")
    return path.with_name(rows)


def hash_of(data: dict[str, Any], table: str) -> str:
    """Of all that latencies depend on: not of the error report, which a validation rewrites."""
    said = {name: value for name, value in data.items() if name != "error"}
    # Keys of YAML may be numbers, which no order has among words.
    text = json.dumps(json.loads(json.dumps(said)), sort_keys=True)
    return hashlib.sha256((text + table).encode()).hexdigest()[:12]


def parse_fields(kind: type[F], data: dict[str, Any], path: Path) -> F:
    """The fields of a device file, checked. Raises ValueError, one line, naming file and field."""
    from pydantic import ValidationError

    try:
        # mypy takes a class of dataclasses for one that cannot be hashed.
        parsed: F = validated(_adapter(kind), data)  # type: ignore[arg-type]
        return parsed
    except ValidationError as error:
        wrong = first_wrong(error)
        raise ValueError(brief(f"{path}: {f'{wrong.at}: ' if wrong.at else ''}{wrong.said}")) from None


@lru_cache(maxsize=2)
def _adapter(kind: type[DeviceFields]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
