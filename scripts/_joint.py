"""The costs that the chips of a family share, fitted to all of them at once, and how far off they are.

No term is chosen: all of `TERMS` are in the fit, none of them negative, and each but the fixed cost and that
of weights is held towards 0 in proportion to how much it takes of the networks' times. How strongly, and
how much of the time is arithmetic, is not chosen either: the costs are the mean over `STRENGTHS` and
`ARITHMETIC`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from hvnas.latency.calibration.family import (
    KNOWN_SD,
    UNKNOWN_SD,
    Family,
    Times,
    centred,
    chip_model,
    choose_networks,
    make_family,
)
from hvnas.latency.device import Device
from hvnas.latency.model import LinearModel, Term
from hvnas.latency.rows import Measurement

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
TERMS = (
    *("weight_bytes", "ops", "grouped_macs", "depthwise_macs", "act_bytes", "matmul_bytes", "gate_bytes"),
    *("elementwise_bytes", "layernorm_bytes", "transcendental", "pool_bytes", "concat_bytes"),
)
# Held towards 0 are the terms after these.
FREE = ("weight_bytes",)
STRENGTHS = (0.03, 0.1, 0.3)
# Of the rate of the network that multiplies fastest: what arithmetic costs beside all else.
ARITHMETIC = (0.0, 0.5, 1.0)
# Errors beyond this count in proportion, not squared.
SMALL = 0.05
ROUNDS = 8
SIZES = (3, 5, 10, 20)


@dataclass(frozen=True)
class Joint:
    """What a family is fitted to: the rows of its chips, and the device that its typical chip is written as.

    `fastest` names the networks whose arithmetic is the fastest there is; no fit sees their times otherwise.
    """

    device: Device
    fastest: tuple[str, ...]
    terms: tuple[str, ...] = TERMS

    def without(self, term: str) -> Joint:
        """The same without one term."""
        return replace(self, terms=tuple(name for name in self.terms if name != term))

    def family(self, rows: Sequence[Measurement]) -> Family:
        """The family of `rows`, its costs fitted to them."""
        return make_family(replace(self.device, model=self.typical(rows), rows=tuple(rows)))

    def typical(self, rows: Sequence[Measurement]) -> LinearModel:
        """The costs of the chip that lies in the middle of those of `rows`."""
        times = Times.of(rows)
        inside = inside_gate(self.device, times)
        levels, log_ms = centred(times.log_ms[:, inside])
        typical = np.exp(np.nanmean(times.log_ms - levels[:, None], axis=0))
        rate = fastest_rate(times, typical, self.fastest)
        fixed, *costs = shared_costs(times, inside, np.exp(log_ms), self.terms, rate)
        terms = [*zip(self.terms, costs, strict=True), ("macs", float(np.mean(ARITHMETIC)) / rate)]
        return LinearModel(fixed, tuple(Term(name, cost) for name, cost in terms if cost > 0), floor(rate))


def floor(rate: float) -> tuple[Term, ...]:
    """No network multiplies faster than `rate`, in 10^6 multiply-accumulates a millisecond."""
    return Term("pointwise_macs", 1 / rate), Term("spatial_macs", 1 / rate)


def inside_gate(device: Device, times: Times) -> Bools:
    """Which networks lie in the gate."""
    names = [c.name for c in device.columns]
    return device.latency_columns(times.values[:, [times.columns.index(name) for name in names]]).inside


def fastest_rate(times: Times, ms: Floats, names: Sequence[str]) -> float:
    """The highest rate of the networks `names`, in 10^6 multiply-accumulates a millisecond.

    Where none of them was timed, it is that of any.
    """
    rates = times.values[:, times.columns.index("macs")] / 1e6 / ms
    named = np.array([row.model in names for row in times.firsts]) & np.isfinite(rates)
    return float(np.nanmax(rates[named] if named.any() else rates))


def shared_costs(times: Times, fitted: Bools, ms: Floats, terms: Sequence[str], rate: float) -> list[float]:
    """The fixed cost and that of each term; `ms` are of the `fitted` networks."""
    values = times.values[fitted] / 1e6
    design = np.stack([np.ones(len(ms)), *(values[:, times.columns.index(name)] for name in terms)], axis=1)
    macs = values[:, times.columns.index("macs")] / rate
    held = np.array([name not in FREE for name in ("weight_bytes", *terms)], float)
    found = [shrunk_fit(design, ms, macs * share, s * held) for s, share in product(STRENGTHS, ARITHMETIC)]
    mean: list[float] = np.mean(found, axis=0).tolist()
    return mean


def shrunk_fit(design: Floats, ms: Floats, known: Floats, strength: Floats) -> Floats:
    """Parameters >= 0, one per column of `design` [n, k], of what `known` [n] leaves of the times `ms` [n].

    Errors are relative; beyond `SMALL` they count in proportion. A parameter is held towards 0 by its
    `strength` [k] times the mean square of its share of the time.
    """
    shares, target = design / ms[:, None], 1 - known / ms
    scale = np.sqrt((shares**2).mean(0))
    scale = np.where(scale > 0, scale, 1)
    shares = shares / scale
    penalty = np.sqrt(strength * len(ms)) * np.eye(len(strength))
    weights = np.ones(len(ms))
    for _ in range(ROUNDS):
        root = np.sqrt(weights)
        rows = np.vstack([shares * root[:, None], penalty])
        found = nnls(rows, np.concatenate([root * target, np.zeros(len(strength))]))[0]
        weights = SMALL / np.maximum(np.abs(shares @ found - target), SMALL)
    solution: Floats = found / scale
    return solution


def fit_chip(family: Family, rows: Sequence[Measurement]) -> LinearModel:
    """The costs of a chip of the family from its rows, the networks in the gate."""
    known = [n for n in family.networks if n.inside]
    ms = {(row.network, row.resolution): row.ms for row in rows}
    timed = [n for n in known if (n.name, n.resolution) in ms]
    return chip_model(
        family.model,
        family.for_model(np.stack([n.values for n in timed])),
        np.array([ms[n.name, n.resolution] for n in timed]),
        offsets=np.array([n.offset for n in timed]),
    )


def family_left_out(
    joint: Joint, rows: Sequence[Measurement], *, of: str | None = None
) -> dict[tuple[str, str], float]:
    """Milliseconds of every network on every chip, by chip and network, its family left out of everything.

    Of the networks of one family where `of` names it.
    """
    predicted = {}
    for name in dict.fromkeys(row.family for row in rows) if of is None else (of,):
        left = [row for row in rows if row.family != name]
        family = joint.family(left)
        for chip in family.chips:
            model = fit_chip(family, [row for row in left if row.cohort == chip])
            for row in (r for r in rows if r.family == name and r.cohort == chip):
                predicted[chip, row.model] = predict(family, model, row)
    return predicted


def choice_left_out(joint: Joint, rows: Sequence[Measurement]) -> dict[tuple[str, str], float]:
    """The same, with terms chosen without the family as well: all of them, or all but one.

    The choice is that of the lowest error with families left out, among the others.
    """
    pools = [joint, *(joint.without(term) for term in joint.terms)]
    predicted = {}
    for name in dict.fromkeys(row.family for row in rows):
        others = [row for row in rows if row.family != name]
        best = min(pools, key=lambda pool: mean_error(pool, others))
        predicted |= family_left_out(best, rows, of=name)
    return predicted


def mean_error(joint: Joint, rows: Sequence[Measurement]) -> float:
    """The mean of |predicted / measured - 1| in the gate, families left out in their turn."""
    predicted = family_left_out(joint, rows)
    times = Times.of(rows)
    inside = {row.model for row, ok in zip(times.firsts, inside_gate(joint.device, times), strict=True) if ok}
    return float(np.mean([abs(predicted[r.cohort, r.model] / r.ms - 1) for r in rows if r.model in inside]))


def alone(joint: Joint, rows: Sequence[Measurement], terms: Sequence[str]) -> dict[tuple[str, str], float]:
    """The same, each chip fitted alone to the same terms; to MACs alone where `terms` are none."""
    predicted = {}
    for chip in dict.fromkeys(row.cohort for row in rows):
        own = [row for row in rows if row.cohort == chip]
        for name in dict.fromkeys(row.family for row in own):
            left = [row for row in own if row.family != name]
            model = joint.typical(left) if terms else macs_alone(joint.device, left)
            family = make_family(replace(joint.device, model=model, rows=tuple(left)))
            predicted |= {(chip, r.model): predict(family, model, r) for r in own if r.family == name}
    return predicted


def macs_alone(device: Device, rows: Sequence[Measurement]) -> LinearModel:
    """A fixed cost and one of MACs."""
    times = Times.of(rows)
    inside = inside_gate(device, times)
    ms, macs = np.exp(times.log_ms[0, inside]), times.values[inside, times.columns.index("macs")] / 1e6
    fixed, cost = shrunk_fit(np.stack([np.ones(len(ms)), macs], axis=1), ms, 0 * ms, np.zeros(2)).tolist()
    return LinearModel(fixed, (Term("macs", cost),))


def predict(family: Family, model: LinearModel, row: Measurement) -> float:
    """Milliseconds of a row's network by `model`."""
    return float(model.predict(np.array([[row.values[c.name] for c in model.columns]]))[0])


@dataclass(frozen=True)
class NewChip:
    """ln(measured / predicted) of networks on a chip left out, from k networks timed on it.

    `known`: of networks that other chips have timed; `unseen`: of families that no chip has, the k being
    known; `own`: the same, nothing being known of the k.
    """

    chip: str
    k: int
    known: list[float]
    unseen: list[float]
    own: list[float]


def new_chips(joint: Joint, rows: Sequence[Measurement]) -> list[NewChip]:
    """Every chip left out in its turn, as if it were new."""
    found = []
    for chip in dict.fromkeys(row.cohort for row in rows):
        others = [row for row in rows if row.cohort != chip]
        here = {(row.network, row.resolution): row for row in rows if row.cohort == chip}
        whole = joint.family(others)
        parts = {name: joint.family([r for r in others if r.family != name]) for name in _families(whole)}
        for k in SIZES:
            known = [
                _error(whole, {key: row for key, row in here.items() if key != left}, here[left], k, True)
                for left in ((n.name, n.resolution) for n in whole.networks if n.inside)
                if left in here
            ]
            unseen, own = (
                [
                    _error(part, here, here[n.name, n.resolution], k, is_known)
                    for name, part in parts.items()
                    for n in whole.networks
                    if n.family == name and n.inside and (n.name, n.resolution) in here
                ]
                for is_known in (True, False)
            )
            found.append(NewChip(chip, k, known, unseen, own))
    return found


def _families(family: Family) -> list[str]:
    return list(dict.fromkeys(n.family for n in family.networks if n.inside))


def _error(
    family: Family, here: dict[tuple[str, int], Measurement], row: Measurement, k: int, is_known: bool
) -> float:
    """ln(measured / predicted) of `row` on a new chip, from the k of `here` that tell most."""
    left = [n for n in family.networks if n.inside and (n.name, n.resolution) in here]
    values = np.stack([n.values for n in left])
    chosen = choose_networks(family, values, [is_known] * len(left), most=k)
    timed = [left[i] for i in chosen]
    offsets = np.array([n.offset if is_known else 0.0 for n in timed])
    ms = np.array([here[n.name, n.resolution].ms for n in timed])
    weights = np.full(len(timed), 1.0 if is_known else (KNOWN_SD / UNKNOWN_SD) ** 2)
    model = chip_model(family.model, family.for_model(values[chosen]), ms, offsets=offsets, weights=weights)
    same = next((n.offset for n in family.networks if n.name == row.network), 0.0)
    return float(np.log(row.ms / predict(family, model, row)) - same)
