"""Files of a measured device: a YAML, the ops' times beside it, and the networks' that it was fitted to.

While it is being measured, and after it was cut, the YAML says ``complete: false``; such a table loads and
answers, but every network lies outside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hvnas._files import read_text, write_atomic
from hvnas.latency.device import Device, DeviceInfo, Rule, StudentT
from hvnas.latency.files import SCHEMA, STRICT, DeviceFields, Errors, dump, hash_of, parse_fields, table_of
from hvnas.latency.tables.op_model import COUNT, OUTSIDE, Context, OpModel
from hvnas.latency.tables.op_regressor import Choice
from hvnas.latency.tables.op_rows import read_op_rows

RANGE = Rule(
    name="range",
    column=OUTSIDE,
    above=0,
    says="{value} of its ops are smaller or larger than any that was measured",
    evidence="the smallest and the largest of every size among the measured ops of a group",
)
PARTIAL = Rule(
    name="partial",
    column=COUNT,
    at_least=0,
    says="the table is not complete; run hvnas latency measure again to finish it",
    evidence="the file says complete: false",
)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was measured: of which space, by which numbers `hvnas.latency.measure.plan` draws it again."""

    space: str
    space_hash: str
    seed: int
    ops: int
    blocks: int
    networks: int


@dataclass(frozen=True, kw_only=True)
class MeasuredFile(DeviceFields):
    """The YAML's fields. `soc` and `os` are those of the host, `noise_bound` a share of a row's time."""

    __pydantic_config__: ClassVar[Any] = STRICT
    complete: bool
    noise_bound: float
    drawn: Drawn
    context: Context = field(default_factory=Context)
    regressors: dict[str, Choice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.noise_bound <= 100:
            raise ValueError(f"noise_bound must be > 0 and at most 100, got {self.noise_bound:g}")


# Of a table that is not complete nothing is known: half of what is measured lies beyond a factor of two.
UNKNOWN = StudentT(df=1.0, loc=0.0, scale=0.6931)


def measured_device(path: Path, data: dict[str, Any]) -> Device:
    """A Device from the parsed YAML at `path` and the table that it names.

    Raises ValueError, one line, naming the file and the field or row at fault.
    """
    parsed = parse_fields(MeasuredFile, data, path)
    table = table_of(path, parsed.rows)
    rows = read_op_rows(table, growing=not parsed.complete)
    if not rows:
        raise ValueError(f"{table}: no op is measured yet; run hvnas latency measure again to continue")
    return Device(
        name=parsed.name,
        hash=hash_of(data, read_text(table)),
        info=parsed.info,
        model=OpModel(rows, parsed.regressors, parsed.context),
        rules=(RANGE,) if parsed.complete else (RANGE, PARTIAL),
        inside_error=parsed.interval.inside,
        outside_error=parsed.interval.outside,
        report=parsed.error,
    )


def read_measured(path: Path, data: dict[str, Any]) -> MeasuredFile:
    """The fields alone. Raises ValueError as `measured_device`."""
    return parse_fields(MeasuredFile, data, path)


def write_measured(
    path: Path,
    name: str,
    info: DeviceInfo,
    drawn: Drawn,
    *,
    noise_bound: float,
    complete: bool = False,
    errors: Errors | None = None,
    context: Context | None = None,
    regressors: Mapping[str, Choice] | None = None,
    report: Mapping[str, Any] | None = None,
) -> None:
    """Write the YAML in one step."""
    errors = errors or Errors(inside=UNKNOWN, outside=UNKNOWN)
    data: dict[str, Any] = {"schema": SCHEMA, "name": name}
    data |= dataclasses.asdict(info)
    data |= {"rows": path.with_suffix(".csv").name, "complete": complete, "noise_bound": noise_bound}
    data["drawn"] = dataclasses.asdict(drawn)
    data["interval"] = dataclasses.asdict(errors)
    data["context"] = dataclasses.asdict(context or Context())
    data["regressors"] = {group: dataclasses.asdict(c) for group, c in (regressors or {}).items()}
    data["error"] = dict(report or {})
    write_atomic(path, dump(data))
