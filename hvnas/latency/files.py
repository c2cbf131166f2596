"""Device files, read and written: YAML with a CSV of measurements beside it, schema hvnas.device/1."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import yaml

from hvnas._files import read_text, read_yaml, write_atomic, write_together
from hvnas._names import WrongField, brief, shown, validated
from hvnas._yaml import parse_yaml
from hvnas.latency.device import Device, Rule
from hvnas.latency.model import LinearModel, Term
from hvnas.latency.provenance import DeviceInfo
from hvnas.latency.rows import LONGEST_MS, MOST, write_rows
from hvnas.latency.scores import Pace, StudentT

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
    """The file's ``interval:``."""

    __pydantic_config__: ClassVar[Any] = STRICT
    inside: StudentT
    outside: StudentT
    pace: Pace | None = None


@dataclass(frozen=True, kw_only=True)
class DeviceFields(DeviceInfo):
    """The YAML's fields that every device has."""

    __pydantic_config__: ClassVar[Any] = STRICT
    schema: str
    name: str
    method: Method
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


def table_of(path: Path, rows: str) -> Path:
    """The CSV that a device file names. Raises ValueError where that is none beside it."""
    if Path(rows).name != rows or rows == "..":
        raise ValueError(f"{path}: rows: must be the name of a file in the same folder, got {shown(rows)}")
    table = path.with_name(rows)
    there = False
    # The system refuses a name that is too long.
    with suppress(OSError):
        there = table.is_file()
    if not there:
        raise ValueError(f"{path}: rows: there is no file {shown(rows)} in the same folder; put it there")
    return table


def hash_of(data: dict[str, Any], table: str) -> str:
    """Of all that latencies depend on: not of the error report, which a validation rewrites."""
    said = {name: value for name, value in data.items() if name != "error"}
    # Keys of YAML may be numbers, which no order has among words.
    text = json.dumps(json.loads(json.dumps(said)), sort_keys=True)
    return hashlib.sha256((text + table).encode()).hexdigest()[:12]


def parse_fields(kind: type[F], data: dict[str, Any], path: Path) -> F:
    """The fields of a device file, checked. Raises ValueError, one line, naming file and field."""
    try:
        return validated(kind, data)
    except WrongField as wrong:
        raise ValueError(brief(f"{path}: {wrong}")) from None


INFO = """
    description method device soc os runtime runtime_version compute_unit precision threads batch statistic
    tool date source protocol
    """.split()


def write_device(device: Device, path: str | Path) -> None:
    """Write a calibrated device: the YAML at `path`, its measurements as CSV beside it.

    Each file is replaced in one step, once both are on the disk, the CSV first: the YAML never names rows
    that are not there. Raises ValueError where the device's model is none of terms, OSError where the
    files cannot be written.
    """
    path = Path(path)
    table = path.with_suffix(".csv")
    text = device_text(device, rows=table.name)
    write_together({table: write_rows(device.rows), path: text})


def device_text(device: Device, *, rows: str) -> str:
    """The YAML of a device whose measurements lie in the file `rows` of the same folder."""
    model = device.model
    if not isinstance(model, LinearModel):
        raise ValueError(f"{device.name}: only calibrated devices, sums of terms, are written as such a file")
    data: dict[str, Any] = {"schema": SCHEMA, "name": device.name}
    data |= {name: getattr(device.info, name) for name in INFO}
    data |= {"vendor": device.info.vendor} if device.info.vendor else {}
    data["rows"] = rows
    data["parameters"] = {
        "fixed_ms": model.fixed_ms,
        "terms": [_term(term) for term in model.terms],
        "floor": [_term(term) for term in model.floor],
    }
    data["interval"] = interval_fields(
        Errors(inside=device.inside_error, outside=device.outside_error, pace=device.pace)
    )
    data["rules"] = [_rule(rule) for rule in device.rules]
    data["error"] = dict(device.report)
    return dump(data)


def dump(data: Mapping[str, Any]) -> str:
    """YAML as device files have it: in the order given, one field a line."""
    text: str = yaml.safe_dump(dict(data), sort_keys=False, width=110, allow_unicode=True)
    return text


def store_in_error(path: str | Path, name: str, value: Mapping[str, Any]) -> None:
    """Put `value` under `name` into the ``error:`` section of a device file; all else stays, word for word.

    Raises ValueError where the file is no device file, OSError where it cannot be written.
    """
    path = Path(path)
    before = read_yaml(path, schema=SCHEMA)
    error = before.get("error") or {}
    if not isinstance(error, dict):
        raise ValueError(f"{path}: error: must be a mapping, got {shown(error)}")
    after = {**before, "error": {**error, name: dict(value)}}
    text = _with_section(read_text(path), "error", dump({"error": after["error"]}))
    if parse_yaml(text) != after:  # laid out in a way that lines do not tell apart
        text = dump(after)
    write_atomic(path, text)


def _with_section(text: str, key: str, section: str) -> str:
    """`text` with the lines of the top-level `key` replaced by `section`, or with it at the end."""
    lines = text.splitlines(keepends=True)
    starts = [i for i, line in enumerate(lines) if line.startswith(f"{key}:")]
    if not starts:
        return text.rstrip("\n") + "\n" + section
    end = starts[0] + 1
    while end < len(lines) and lines[end][:1] in " \t\n-":
        end += 1
    return "".join([*lines[: starts[0]], section, *lines[end:]])


def _term(term: Term) -> dict[str, Any]:
    fields = {"column": term.column, "ms_per_mega": term.ms_per_mega, "meaning": term.meaning}
    return {name: value for name, value in fields.items() if value != ""}


def interval_fields(errors: Errors) -> dict[str, dict[str, float]]:
    """What a device file has under ``interval:``."""
    return {name: part for name, part in dataclasses.asdict(errors).items() if part is not None}


def _rule(rule: Rule) -> dict[str, Any]:
    limits = {"above": rule.above, "at_least": rule.at_least}
    limit = {name: _plain(value) for name, value in limits.items() if value is not None}
    return {"name": rule.name, "column": rule.column, **limit, "says": rule.says, "evidence": rule.evidence}


def _plain(value: float) -> float:
    """Whole numbers as integers, as a person writes them."""
    return int(value) if value == int(value) else value
