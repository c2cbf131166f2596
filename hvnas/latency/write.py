"""Writing device files: what `hvnas.latency.files` reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hvnas._files import read_text, read_yaml, write_atomic, write_together
from hvnas._validation import shown
from hvnas._yaml import parse_yaml
from hvnas.latency.device import Device
from hvnas.latency.files import SCHEMA
from hvnas.latency.gate import Rule
from hvnas.latency.interval import Student
from hvnas.latency.model import LinearModel, Term
from hvnas.latency.rows import write_rows

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
    data["rows"] = rows
    data["parameters"] = {
        "fixed_ms": model.fixed_ms,
        "terms": [_term(term) for term in model.terms],
        "floor": [_term(term) for term in model.floor],
    }
    data["interval"] = {"inside": _student(device.inside_error), "outside": _student(device.outside_error)}
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


def _student(student: Student) -> dict[str, float]:
    return dataclasses.asdict(student)


def _rule(rule: Rule) -> dict[str, Any]:
    limits = {"above": rule.above, "at_least": rule.at_least}
    limit = {name: _plain(value) for name, value in limits.items() if value is not None}
    return {"name": rule.name, "column": rule.column, **limit, "says": rule.says, "evidence": rule.evidence}


def _plain(value: float) -> float:
    """Whole numbers as integers, as a person writes them."""
    return int(value) if value == int(value) else value
