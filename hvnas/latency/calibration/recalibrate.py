"""A device of one's own from a calibrated one and a few measurements of whole networks.

That a whole device is faster or slower owes nothing to the base device: its parameters are first multiplied
by the mean ratio (geometric) of measured to predicted times, floor and all. A handful of measurements cannot
tell the parameters apart beyond that, so these are the prior. With parameters b, a common factor g and
multipliers u (all >= 0), the refitted parameters b * u minimise

    sum over networks (predicted / measured - 1)^2
    + prior_strength * (sum over parameters (u - g)^2 + SCALE_SHARE * (g - 1)^2)

The common factor is held far less than the proportions: that a whole device is twice as slow takes few
measurements to see, that its memory alone is takes more. How strong the prior is, is chosen with networks
left out: of the strengths that are no worse than one standard error from the best, the strongest. A term
that costs nothing on the base device costs nothing after; one that is part of the floor as well costs no
less than there, so that where no op of the base device can take less than its floor, none can after.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas._names import shown
from hvnas._numbers import shortened
from hvnas.latency.columns import clean, column, list_columns
from hvnas.latency.device import Device
from hvnas.latency.model import LinearModel, Term
from hvnas.latency.provenance import DeviceInfo
from hvnas.latency.remote.measurements import MeasuredModel, ModelMeasurement
from hvnas.latency.rows import Measurement
from hvnas.latency.scores import Pace, StudentT, scores
from hvnas.ops import Program, evaluate_columns

Floats = NDArray[np.float64]

AT_LEAST = 5
SCALE_SHARE = 0.01
# The last but one leaves nothing but the common factor; infinite: the base device as it is.
STRENGTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 1e9, float("inf"))
FOLDS = 10

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
    """The new device, and milliseconds [n] of the networks `names` in its gate, each left out of the fit.

    `before` is what the base device says of them. `outside` names networks that were not fitted, being
    outside the base device's gate.
    """

    device: Device
    names: tuple[str, ...]
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

    See the module for the fit. The interval inside the gate is that of a next network:
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
        info=device_info(base, [m.row for m in inside]),
        model=refit(base.model, values, ms),
        rules=base.rules,
        inside_error=error,
        outside_error=replace(base.outside_error, loc=base.outside_error.loc + error.loc),
        pace=base.pace and _pace(base.pace, inside, left.before),
        report=_report(base, models, left.before, left.after, ms),
        rows=tuple(_row(m) for m in models),
    )
    return Recalibrated(device, tuple(m.name for m in inside), outside, ms, left.before, left.after)


def _pace(base: Pace, models: Sequence[MeasuredModel], before: Floats) -> Pace:
    """The pace of the base device's fastest network on this one, or of a faster one of `models`.

    `before` [n] is what the base device says of them.
    """
    ms, macs = np.array([m.ms for m in models]), np.array([m.program.macs for m in models])
    faster = float(np.exp(np.mean(np.log(before / ms))))
    return replace(base, macs_per_ms=max(base.macs_per_ms * faster, float((macs / ms).max())))


def check_unit(base: Device, models: Sequence[MeasuredModel]) -> None:
    """Raise ValueError, with a question, where the times look like another unit than milliseconds."""
    refuse_unit(base, [model.ms / base.latency(model.program).ms for model in models])


def refuse_unit(base: Device, ratios: Sequence[float]) -> None:
    """Raise ValueError, with a question, where measured times over those of `base` tell of another unit."""
    ratio = float(np.exp(np.mean(np.log(ratios))))
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


def device_info(base: Device, rows: Sequence[ModelMeasurement]) -> DeviceInfo:
    """What a device is of that was made of `base` and networks measured on it."""
    row = rows[0]
    carried = {
        name: getattr(row, name)
        for name in "device os runtime runtime_version compute_unit precision threads batch".split()
    }
    protocols, sources = ("; ".join(_distinct(rows, name)) for name in ("protocol", "source"))
    return DeviceInfo(
        **carried,
        description=f"{row.device}, {base.name} refitted to {len(rows)} measured networks, not measured",
        soc=base.info.soc if row.device == base.info.device else "not stated",
        vendor=base.info.vendor if row.device == base.info.device else "",
        statistic=row.statistic,
        tool=f"hvnas latency calibrate, on times of {row.runtime} {row.runtime_version}",
        date=datetime.date.today().isoformat(),
        source=f"{sources}; parameters refitted from {base.name} ({base.hash})",
        method="calibrated",
        protocol=protocols,
    )


def _distinct(rows: Sequence[ModelMeasurement], name: str) -> list[str]:
    return list(dict.fromkeys(str(getattr(row, name)) for row in rows))


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


@dataclass(frozen=True)
class LeftOut:
    """Milliseconds [n] of each network: `before` by the base device, `after` refitted to the others."""

    before: Floats
    after: Floats


def refit(
    model: LinearModel, values: Floats, ms: Floats, *, prior_strength: float | None = None
) -> LinearModel:
    """`model` with its parameters refitted to measured networks, each once.

    `values` are the networks' ``model.columns`` [n, columns], `ms` their measured milliseconds [n];
    `prior_strength` is chosen by `choose_prior_strength` where it is None. The floor, a bound on what the
    hardware can do, takes the mean ratio (geometric) of refitted to base predictions. Raises ValueError
    for fewer than 5 networks, times that are no finite numbers > 0, or a negative prior_strength.
    """
    _check(model, values, ms)
    if prior_strength is None:
        prior_strength = choose_prior_strength(model, values, ms)
    if not prior_strength >= 0:
        raise ValueError(f"prior_strength must be >= 0, got {prior_strength}; infinity keeps the base device")
    return _refit(model, values, ms, prior_strength)


def choose_prior_strength(model: LinearModel, values: Floats, ms: Floats) -> float:
    """The one of `STRENGTHS` to refit with: the strongest within a standard error of the best.

    The error of a strength is the mean relative error of networks left out, one at a time (in ten parts
    where there are more than ten networks).
    """
    part = np.arange(len(ms)) % FOLDS
    off = np.stack([_off(_held(model, values, ms, part, s), ms) for s in STRENGTHS])
    error = off.mean(axis=1)
    best = int(error.argmin())
    bound = error[best] + off[best].std(ddof=1) / np.sqrt(len(ms))
    return max(s for s, e in zip(STRENGTHS, error, strict=True) if e <= bound)


def leave_one_out(
    model: LinearModel, values: Floats, ms: Floats, *, prior_strength: float | None = None
) -> LeftOut:
    """Every network predicted by the base device, and by a refit to the other networks.

    The prior's strength is chosen without the network as well. Arguments and errors as of `refit`.
    """
    _check(model, values, ms)
    after = np.empty(len(ms))
    for index in range(len(ms)):
        rest = np.arange(len(ms)) != index
        strength = prior_strength
        if strength is None:
            strength = choose_prior_strength(model, values[rest], ms[rest])
        after[index] = _refit(model, values[rest], ms[rest], strength).predict(values[[index]])[0]
    return LeftOut(before=model.predict(values), after=after)


def _check(model: LinearModel, values: Floats, ms: Floats) -> None:
    if values.shape != (len(ms), len(model.columns)):
        raise ValueError(
            f"values must be [{len(ms)}, {len(model.columns)}], a row for each network; got {values.shape}"
        )
    if len(ms) < AT_LEAST:
        raise ValueError(f"a refit needs at least {AT_LEAST} measured networks, got {len(ms)}; measure more")
    if not (np.isfinite(ms).all() and (ms > 0).all()):
        raise ValueError("measured milliseconds must be finite numbers > 0; check the column ms")


def _off(predicted: Floats, ms: Floats) -> Floats:
    return np.abs(predicted - ms) / ms


def _held(model: LinearModel, values: Floats, ms: Floats, part: NDArray[np.intp], strength: float) -> Floats:
    predicted = np.empty(len(ms))
    for name in np.unique(part):
        held = part == name
        predicted[held] = _refit(model, values[~held], ms[~held], strength).predict(values[held])
    return predicted


def _refit(model: LinearModel, values: Floats, ms: Floats, strength: float) -> LinearModel:
    if np.isinf(strength):
        return model
    model = times(model, float(np.exp(np.mean(np.log(ms / model.predict(values))))))
    multipliers = fit_multipliers(shares_of(model, values, ms), strength)
    terms = tuple(
        dataclasses.replace(term, ms_per_mega=float(term.ms_per_mega * u))
        for term, u in zip(model.terms, multipliers[1:], strict=True)
    )
    refitted = dataclasses.replace(model, fixed_ms=float(model.fixed_ms * multipliers[0]), terms=terms)
    if not model.floor:
        return refitted
    ratio = float(np.exp(np.mean(np.log(refitted.predict(values) / model.predict(values)))))
    return _above_floor(dataclasses.replace(refitted, floor=tuple(scaled(t, ratio) for t in model.floor)))


def _above_floor(model: LinearModel) -> LinearModel:
    """`model` with no term that costs less than the floor has its column at."""
    least = {term.column: term.ms_per_mega for term in model.floor}
    terms = tuple(
        dataclasses.replace(term, ms_per_mega=max(term.ms_per_mega, least.get(term.column, 0.0)))
        for term in model.terms
    )
    return dataclasses.replace(model, terms=terms)


def times(model: LinearModel, factor: float) -> LinearModel:
    """`model` of a device that is slower by `factor` in everything."""
    terms, floor = (tuple(scaled(term, factor) for term in part) for part in (model.terms, model.floor))
    return LinearModel(model.fixed_ms * factor, terms, floor)


def scaled(term: Term, ratio: float) -> Term:
    return dataclasses.replace(term, ms_per_mega=term.ms_per_mega * ratio)


def shares_of(model: LinearModel, values: Floats, ms: Floats) -> Floats:
    """What each parameter contributes, as a share of the measured time, [n, 1 + terms].

    Of a network at the floor the terms share what the floor adds: the parts sum to the prediction.
    """
    names = [c.name for c in model.columns]
    costs = np.stack([values[:, names.index(t.column)] * t.ms_per_mega / 1e6 for t in model.terms], axis=1)
    total = costs.sum(axis=1)
    raised = np.divide(model.predict(values) - model.fixed_ms, total, out=np.ones(len(ms)), where=total > 0)
    shares: Floats = np.column_stack([np.full(len(ms), model.fixed_ms), costs * raised[:, None]])
    return shares / ms[:, None]


def fit_multipliers(shares: Floats, strength: float, weights: Floats | None = None) -> Floats:
    """Multipliers u >= 0 of the parameters; the common factor g is one more unknown of the same problem.

    `shares` [n, parameters] of the measured times; `weights` [n] of the networks, 1 each where None.
    """
    from scipy.optimize import nnls

    count = shares.shape[1]
    counted = np.sqrt(np.ones(len(shares)) if weights is None else weights)
    weight = np.sqrt(strength)
    together = np.hstack([np.eye(count), -np.ones((count, 1))]) * weight
    scale = np.zeros((1, count + 1))
    scale[0, -1] = weight * np.sqrt(SCALE_SHARE)
    left = np.vstack([np.hstack([shares * counted[:, None], np.zeros((len(shares), 1))]), together, scale])
    right = np.concatenate([counted, np.zeros(count), scale[:, -1]])
    solution: Floats = nnls(left, right)[0]
    return solution[:-1]
