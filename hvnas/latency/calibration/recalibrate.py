"""A device of one's own from a calibrated one and a few measurements of whole networks."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hvnas._names import shown
from hvnas._numbers import shortened
from hvnas.latency.calibration.refit import AT_LEAST, Floats, leave_one_out, refit
from hvnas.latency.columns import clean, column, list_columns
from hvnas.latency.device import Device, DeviceInfo, StudentT
from hvnas.latency.model import LinearModel
from hvnas.latency.remote.measurements import MeasuredModel, ModelMeasurement
from hvnas.latency.rows import Measurement
from hvnas.latency.scores import scores
from hvnas.ops import Program, evaluate_columns

COHORT = "own"
# Where the device's error section has the two errors: the base device's, and that of the refit, left out.
BEFORE, AFTER = "base_device", "model_left_out"
# What must be as on the base device for its terms to carry over.
PROTOCOL = ("compute_unit", "precision", "batch", "threads")
# A few errors that agree by luck do not make a device sure to less than this.
MIN_SCALE = 0.01
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
# So many times faster or slower than the base device is no device measured alike, but another unit.
IMPLAUSIBLE = 50.0
SAME = {"fp16": "float16", "half": "float16", "fp32": "float32", "single": "float32"}


@dataclass(frozen=True)
class Recalibrated:
    """The new device, and milliseconds [n] of the networks in its gate, each left out of the fit.

    `before` is what the base device says of them. `outside` names networks that were not fitted, being
    outside the base device's gate.
    """

    device: Device
    models: tuple[MeasuredModel, ...]
    outside: tuple[str, ...]
    measured: Floats
    before: Floats
    after: Floats

    @property
    def improved(self) -> bool:
        """Whether the error of networks left out is lower than the base device's."""
        before, after = (self.device.report[name]["in_gate"]["mape"] for name in (BEFORE, AFTER))
        return bool(after < before)


def recalibrate(base: Device, models: Sequence[MeasuredModel], *, name: str) -> Recalibrated:
    """`base` with its parameters refitted to the measured `models` that lie in its gate.

    See `hvnas.latency.calibration.refit` for the fit. The interval inside the gate is that of a next network:
    Student's t with n - 1 degrees of freedom around the mean of e = ln(measured / predicted), network left
    out, its scale sd(e) sqrt(1 + 1 / n). Outside the gate the base device's interval stands, moved by that
    mean; the rules are the base device's. Raises ValueError where the base is no sum of terms, or where fewer
    than five networks lie in its gate.
    """
    if not isinstance(base.model, LinearModel):
        raise ValueError(f"{base.name}: is a table, not a sum of terms; a refit needs a calibrated device")
    estimates = [base.latency(m.program) for m in models]
    inside = [m for m, e in zip(models, estimates, strict=True) if e.inside]
    outside = tuple(m.name for m, e in zip(models, estimates, strict=True) if not e.inside)
    if len(inside) < AT_LEAST:
        named = shortened(", ".join(outside), 200)
        left_out = f"; {len(outside)} lie outside its gate: {named}" if outside else ""
        raise ValueError(
            f"a refit of {base.name} needs at least {AT_LEAST} measured networks in its gate, "
            f"got {len(inside)}{left_out}; measure more"
        )
    values = np.stack([clean(evaluate_columns(base.model.columns, m.program)) for m in inside])
    ms = np.array([m.ms for m in inside])
    left = leave_one_out(base.model, values, ms)
    error = _error(np.log(ms / left.after))
    device = Device(
        name=name,
        hash="",
        info=_info(base, inside),
        model=refit(base.model, values, ms),
        rules=base.rules,
        inside_error=error,
        outside_error=replace(base.outside_error, loc=base.outside_error.loc + error.loc),
        report=_report(base, models, left.before, left.after, ms),
        rows=tuple(_row(m) for m in models),
    )
    return Recalibrated(device, tuple(inside), outside, ms, left.before, left.after)


def check_unit(base: Device, models: Sequence[MeasuredModel]) -> None:
    """Raise ValueError, with a question, where the times look like another unit than milliseconds."""
    predicted = np.array([base.latency(model.program).ms for model in models])
    ratio = float(np.exp(np.mean(np.log(np.array([model.ms for model in models]) / predicted))))
    if 1 / IMPLAUSIBLE < ratio < IMPLAUSIBLE:
        return
    unit, word = ("us", "microseconds") if ratio > 1 else ("s", "seconds")
    shown = f"{ratio:.3g} times" if ratio > 1 else f"1/{1 / ratio:.3g} of"
    raise ValueError(
        f"ms: the times are {shown} what {base.name} predicts: are they {word}? Then give --unit {unit}; "
        "if they are milliseconds, --unit ms"
    )


def in_milliseconds(models: Sequence[MeasuredModel], unit: str) -> tuple[MeasuredModel, ...]:
    """`models` whose times are in `unit` (a key of `UNITS`), in milliseconds."""
    factor = UNITS[unit]
    return tuple(
        replace(
            model,
            row=replace(
                model.row,
                ms=model.row.ms * factor,
                spread=None if model.row.spread is None else model.row.spread * factor,
            ),
        )
        for model in models
    )


def check_protocol(base: Device, row: ModelMeasurement) -> None:
    """Raise ValueError where a measurement was made in another way than the base device's."""
    for name in PROTOCOL:
        theirs, ours = getattr(base.info, name), getattr(row, name)
        unsaid = name == "threads" and theirs is None
        if not unsaid and _plain(theirs) != _plain(ours):
            raise ValueError(
                f"{name}: the measurements have {_said(ours)}, {base.name} has {_said(theirs)}; "
                "they are not comparable: choose a device that was measured alike"
            )


def network_values(program: Program) -> dict[str, float]:
    """Every latency column of a network, by name."""
    columns = [column(name) for name in list_columns()]
    return dict(zip(list_columns(), clean(evaluate_columns(columns, program)).tolist(), strict=True))


def _said(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else shown(text)


def _plain(value: object) -> object:
    """``all (CPU, GPU, Neural Engine)`` is ``all``; ``fp16`` is ``float16``."""
    if not isinstance(value, str):
        return value
    word = value.partition("(")[0].strip().casefold()
    return SAME.get(word, word)


def _error(e: Floats) -> StudentT:
    n = len(e)
    scale = max(MIN_SCALE, float(e.std(ddof=1)) * np.sqrt(1 + 1 / n))
    return StudentT(df=n - 1.0, loc=float(f"{e.mean():.4g}"), scale=float(f"{scale:.4g}"))


def _info(base: Device, models: Sequence[MeasuredModel]) -> DeviceInfo:
    row = models[0].row
    carried = {
        name: getattr(row, name)
        for name in "device os runtime runtime_version compute_unit precision threads batch".split()
    }
    protocols, sources = ("; ".join(_distinct(models, name)) for name in ("protocol", "source"))
    return DeviceInfo(
        **carried,
        description=f"{row.device}, {base.name} refitted to {len(models)} measured networks, not measured",
        soc=base.info.soc if row.device == base.info.device else "not stated",
        statistic=row.statistic,
        tool=f"hvnas latency calibrate, on times of {row.runtime} {row.runtime_version}",
        date=datetime.date.today().isoformat(),
        source=f"{sources}; parameters refitted from {base.name} ({base.hash})",
        method="calibrated",
        protocol=protocols,
    )


def _distinct(models: Sequence[MeasuredModel], name: str) -> list[str]:
    return list(dict.fromkeys(str(getattr(m.row, name)) for m in models))


def _report(
    base: Device, models: Sequence[MeasuredModel], before: Floats, after: Floats, ms: Floats
) -> dict[str, Any]:
    return {
        "cohort": COHORT,
        "base": {"name": base.name, "hash": base.hash},
        "networks": len(models),
        "networks_in_gate": len(ms),
        AFTER: {"in_gate": scores(after, ms)},
        BEFORE: {"in_gate": scores(before, ms)},
    }


def _row(model: MeasuredModel) -> Measurement:
    row = model.row
    return Measurement(
        network=model.name,
        model=row.key,
        family=model.family,
        resolution=row.resolution,
        ms=model.ms,
        cohort=COHORT,
        protocol=row.protocol,
        device=row.device,
        source=row.source,
        values=network_values(model.program),
    )
