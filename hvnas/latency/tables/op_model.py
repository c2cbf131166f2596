"""The latency model of a measured device: a table of ops, summed.

A network takes, per group of ops, so many times what its ops take by themselves, plus a cost per op (the
framework's) and a fixed one (the call's). Factors and costs are fitted on whole networks.

The files of such a device: a YAML, the ops' times beside it, and the networks' that it was fitted to. While
it is being measured, and after it was cut, the YAML says ``complete: false``; such a table loads and answers,
but every network lies outside.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hvnas._files import read_text, write_atomic
from hvnas.latency.columns import column, register_column
from hvnas.latency.device import Device, Rule
from hvnas.latency.files import (
    SCHEMA,
    STRICT,
    DeviceFields,
    Errors,
    dump,
    hash_of,
    interval_fields,
    parse_fields,
    table_of,
)
from hvnas.latency.provenance import DeviceInfo
from hvnas.latency.rows import LONGEST_MS
from hvnas.latency.scores import StudentT
from hvnas.latency.tables.op_regressor import Choice, Regressor, group_of
from hvnas.latency.tables.op_rows import OpTime, read_op_rows
from hvnas.ops import Column, Op, Program
from hvnas.ops.program import INNER, op_value

Floats = NDArray[np.float64]
OUTSIDE = "ops_outside"
GROUP = "ms_"
MOST_FACTOR = 1e6
COUNT = "ops"  # registered with the columns of CPUs
MACS = "macs"
BYTES = ("weight_bytes", "act_bytes", "other_bytes")  # weights; activations of products and of the others


@register_column(OUTSIDE, "sum")
def _outside(op: Op) -> float:
    """None, as far as anybody knows; a model that was measured has a column of this name of its own."""
    return 0.0


@dataclass(frozen=True)
class Context:
    """How the times of ops by themselves become those of a network: factors by group, and costs.

    The costs are of a call, of an op, of megabytes (float16) of weights and activations that are further away
    inside a network than they were for the op alone (or, below zero, closer), and of giga MACs, for what the
    times of ops that take a few microseconds do not tell; files of earlier versions have none. Of weights
    the first `cached_mb` of a network stay in the cache from run to run; those beyond cost
    `uncached_ms_per_mb` more.
    """

    fixed_ms: float = 0.0
    op_ms: float = 0.0
    weight_ms_per_mb: float = 0.0
    act_ms_per_mb: float = 0.0
    mac_ms_per_giga: float = 0.0
    cached_mb: float = 0.0
    uncached_ms_per_mb: float = 0.0
    factors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("fixed_ms", "op_ms", "weight_ms_per_mb", "act_ms_per_mb", "mac_ms_per_giga"):
            if not abs(value := getattr(self, name)) <= LONGEST_MS:
                raise ValueError(f"{name} must be from -{LONGEST_MS:g} to {LONGEST_MS:g}, got {value:g}")
        for name in ("cached_mb", "uncached_ms_per_mb"):
            if not 0 <= (value := getattr(self, name)) <= LONGEST_MS:
                raise ValueError(f"{name} must be from 0 to {LONGEST_MS:g}, got {value:g}")
        for group, factor in self.factors.items():
            if not 0 <= factor <= MOST_FACTOR:
                raise ValueError(
                    f"factors.{group[:60]} must be from 0 to {MOST_FACTOR:g}, got {factor:g}; "
                    "hvnas latency measure fits a table of this host again"
                )

    def factor(self, group: str) -> float:
        """What a group's sum is multiplied by."""
        return self.factors.get(group, 1.0)

    def saved_ms(self, weight_bytes: Floats) -> Floats:
        """What networks save by the weights that stay in the cache. Shape [n]."""
        return self.uncached_ms_per_mb * np.minimum(weight_bytes / 1e6, self.cached_mb)


@dataclass(frozen=True)
class OpModel:
    """Sums of measured op times; ops that were not measured are interpolated.

    `choices` are the regressors' lengths and noises by group. Noisy rows count as not measured.
    """

    rows: tuple[OpTime, ...]
    choices: Mapping[str, Choice] = field(default_factory=dict)
    context: Context = field(default_factory=Context)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """A sum per group, what the other costs count, and the number of ops outside what was measured."""
        return (
            *(_group_column(group, kinds, self.op_ms) for group, kinds in self._groups.items()),
            column(COUNT),
            *(column(name) for name in BYTES),
            column(MACS),
            Column(OUTSIDE, "sum", lambda op: 0.0 if self.covers(op) else 1.0, fused=True),
        )

    def predict(self, values: Floats) -> Floats:
        """Milliseconds ``[n]`` from column values ``[n, columns]``."""
        weight_bytes = values[:, len(self._groups) + 1]
        return self.context.fixed_ms - self.context.saved_ms(weight_bytes) + values @ self._weights

    def parts(self, program: Program) -> tuple[float, list[tuple[str, Op, float]]]:
        """The fixed cost, less what the cache saves, and of every fused op its label and its milliseconds.

        A program without ops is taken for the rest of a network whose weights fill the cache.
        """
        deployed = program.fused()
        ms = [
            sum(w * op_value(c, op) for w, c in zip(self._weights, self.columns, strict=True))
            for op in deployed.ops
        ]
        weights = column(BYTES[0])
        held = sum(op_value(weights, op) for op in deployed.ops) if deployed.ops else math.inf
        fixed = self.context.fixed_ms - float(self.context.saved_ms(np.array(held)))
        return fixed, list(zip(deployed.labels, deployed.ops, ms, strict=True))

    def op_ms(self, op: Op) -> float:
        """Milliseconds of one op by itself: as measured, else interpolated, 0 for a group never measured."""
        key = op.key
        if key not in self._known:
            regressor = self._regressor(group_of(op))
            self._known[key] = regressor.ms(op) if regressor else 0.0
        return self._known[key]

    def covers(self, op: Op) -> bool:
        """Whether an op was measured or lies between ops that were."""
        key = op.key
        if key not in self._covered:
            regressor = self._regressor(group_of(op))
            free = regressor is None and op.variant == INNER  # part of another op's time
            self._covered[key] = free or (regressor is not None and regressor.is_inside(op))
        return self._covered[key]

    def fitted_choices(self) -> dict[str, Choice]:
        """The choice of every group's regressor, made where it was not given."""
        found = {group: self._regressor(group) for group in self._by_group}
        return {group: regressor.choice for group, regressor in found.items() if regressor}

    @cached_property
    def _by_group(self) -> dict[str, list[OpTime]]:
        groups: dict[str, list[OpTime]] = {}
        for row in self.rows:
            if not row.noisy:
                groups.setdefault(group_of(row.op), []).append(row)
        return groups

    @cached_property
    def _groups(self) -> dict[str, frozenset[str]]:
        return {group: frozenset(row.op.kind for row in rows) for group, rows in self._by_group.items()}

    @cached_property
    def _weights(self) -> Floats:
        factors = [self.context.factor(group) for group in self._groups]
        context = self.context
        weight = context.weight_ms_per_mb + context.uncached_ms_per_mb
        per_byte = [ms / 1e6 for ms in (weight, *[context.act_ms_per_mb] * 2)]
        return np.array([*factors, context.op_ms, *per_byte, context.mac_ms_per_giga / 1e9, 0.0])

    @cached_property
    def _known(self) -> dict[tuple[object, ...], float]:
        return {row.op.key: row.ms for row in self.rows if not row.noisy}

    @cached_property
    def _covered(self) -> dict[tuple[object, ...], bool]:
        return {row.op.key: True for row in self.rows if not row.noisy}

    @cached_property
    def _regressors(self) -> dict[str, Regressor | None]:
        return {}

    def _regressor(self, group: str) -> Regressor | None:
        if group not in self._regressors:
            rows: Sequence[OpTime] = self._by_group.get(group, ())
            self._regressors[group] = Regressor(rows, self.choices.get(group)) if rows else None
        return self._regressors[group]


def _group_column(group: str, kinds: frozenset[str], ms: Callable[[Op], float]) -> Column:
    def value(op: Op) -> float | None:
        return ms(op) if group_of(op) == group else None

    return Column(GROUP + group, "sum", value, fused=True, kinds=kinds)


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
    """What was measured: of which space, by which numbers `hvnas.latency.measure.plan` draws it again.

    `resolution` is that which the space was put to, None where it decides itself, as in older files.
    """

    space: str
    space_hash: str
    seed: int
    ops: int
    blocks: int
    networks: int
    resolution: int | None = None


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
        pace=parsed.interval.pace,
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
    data |= {name: value for name, value in dataclasses.asdict(info).items() if name != "vendor" or value}
    data |= {"rows": path.with_suffix(".csv").name, "complete": complete, "noise_bound": noise_bound}
    data["drawn"] = dataclasses.asdict(drawn)
    data["interval"] = interval_fields(errors)
    data["context"] = dataclasses.asdict(context or Context())
    data["regressors"] = {group: dataclasses.asdict(c) for group, c in (regressors or {}).items()}
    data["error"] = dict(report or {})
    write_atomic(path, dump(data))
