"""A calibrated model for another device: its parameters refitted to a few whole-network measurements.

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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvnas.latency.model import LinearModel, Term

Floats = NDArray[np.float64]

AT_LEAST = 5
SCALE_SHARE = 0.01
# The last but one leaves nothing but the common factor; infinite: the base device as it is.
STRENGTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 1e9, float("inf"))
FOLDS = 10


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
    model = _times(model, float(np.exp(np.mean(np.log(ms / model.predict(values))))))
    multipliers = _multipliers(_shares(model, values, ms), strength)
    terms = tuple(
        dataclasses.replace(term, ms_per_mega=float(term.ms_per_mega * u))
        for term, u in zip(model.terms, multipliers[1:], strict=True)
    )
    refitted = dataclasses.replace(model, fixed_ms=float(model.fixed_ms * multipliers[0]), terms=terms)
    if not model.floor:
        return refitted
    ratio = float(np.exp(np.mean(np.log(refitted.predict(values) / model.predict(values)))))
    return _above_floor(dataclasses.replace(refitted, floor=tuple(_scaled(t, ratio) for t in model.floor)))


def _above_floor(model: LinearModel) -> LinearModel:
    """`model` with no term that costs less than the floor has its column at."""
    least = {term.column: term.ms_per_mega for term in model.floor}
    terms = tuple(
        dataclasses.replace(term, ms_per_mega=max(term.ms_per_mega, least.get(term.column, 0.0)))
        for term in model.terms
    )
    return dataclasses.replace(model, terms=terms)


def _times(model: LinearModel, factor: float) -> LinearModel:
    """`model` of a device that is slower by `factor` in everything."""
    terms, floor = (tuple(_scaled(term, factor) for term in part) for part in (model.terms, model.floor))
    return LinearModel(model.fixed_ms * factor, terms, floor)


def _scaled(term: Term, ratio: float) -> Term:
    return dataclasses.replace(term, ms_per_mega=term.ms_per_mega * ratio)


def _shares(model: LinearModel, values: Floats, ms: Floats) -> Floats:
    """What each parameter contributes, as a share of the measured time, [n, 1 + terms].

    Of a network at the floor the terms share what the floor adds: the parts sum to the prediction.
    """
    names = [c.name for c in model.columns]
    costs = np.stack([values[:, names.index(t.column)] * t.ms_per_mega / 1e6 for t in model.terms], axis=1)
    total = costs.sum(axis=1)
    raised = np.divide(model.predict(values) - model.fixed_ms, total, out=np.ones(len(ms)), where=total > 0)
    shares: Floats = np.column_stack([np.full(len(ms), model.fixed_ms), costs * raised[:, None]])
    return shares / ms[:, None]


def _multipliers(shares: Floats, strength: float) -> Floats:
    """Multipliers u >= 0 of the parameters; the common factor g is one more unknown of the same problem."""
    from scipy.optimize import nnls

    count = shares.shape[1]
    weight = np.sqrt(strength)
    together = np.hstack([np.eye(count), -np.ones((count, 1))]) * weight
    scale = np.zeros((1, count + 1))
    scale[0, -1] = weight * np.sqrt(SCALE_SHARE)
    left = np.vstack([np.hstack([shares, np.zeros((len(shares), 1))]), together, scale])
    right = np.concatenate([np.ones(len(shares)), np.zeros(count), scale[:, -1]])
    solution: Floats = nnls(left, right)[0]
    return solution[:-1]
