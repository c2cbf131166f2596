"""Fitting the parameters of a calibrated device, and the errors of such a fit.

Everything here reads measured rows only: no network is traced, no device is touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hvnas.latency.gate import Rule
from hvnas.latency.rows import Measurement

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Networks:
    """Measured networks, each once: arrays [n] of one cohort.

    `ms` is the mean of a network's measurements, so that none counts more often for having been
    measured more often; `inside` is the gate's verdict, which never sees a time.
    """

    names: tuple[str, ...]
    families: NDArray[np.str_]
    ms: Floats
    inside: Bools
    values: dict[str, Floats]

    def design(self, terms: Sequence[str]) -> Floats:
        """Ones and the columns `terms` in millions, [n, 1 + terms]."""
        return np.stack([np.ones(len(self.ms)), *(self.values[name] / 1e6 for name in terms)], axis=1)


def networks(rows: Sequence[Measurement], rules: Sequence[Rule], *, cohort: str) -> Networks:
    """The networks of a cohort, sorted by name and resolution. Raises ValueError where it has none."""
    groups = _by_network(rows, cohort)
    if not groups:
        raise ValueError(f"no row belongs to the cohort {cohort!r}; check the column cohort")
    keys = sorted(groups)
    firsts = [groups[key][0] for key in keys]
    values = {name: np.array([row.values[name] for row in firsts], float) for name in firsts[0].values}
    excluded = [rule.excludes(values[rule.column]) for rule in rules]
    return Networks(
        names=tuple(keys),
        families=np.array([row.family for row in firsts]),
        ms=np.array([np.mean([row.ms for row in groups[key]]) for key in keys]),
        inside=~np.any([np.zeros(len(keys), bool), *excluded], axis=0),
        values=values,
    )


def fit(design: Floats, ms: Floats) -> Floats:
    """Non-negative least squares of the relative error: parameters, one per column of `design`."""
    from scipy.optimize import nnls

    solution: Floats = nnls(design / ms[:, None], np.ones(len(ms)))[0]
    return solution


def left_out(nets: Networks, terms: Sequence[str], *, by: Sequence[str] | NDArray[np.str_]) -> Floats:
    """Milliseconds [n] of every network, from a fit to the gate's networks of the other groups.

    `by` names each network's group: its family, or its own name for one model at a time. Networks
    outside the gate are predicted, as a device would, but never fitted.
    """
    design, group = nets.design(terms), np.asarray(by)
    predicted = np.empty(len(nets.ms))
    for name in np.unique(group):
        train = nets.inside & (group != name)
        held = group == name
        predicted[held] = design[held] @ fit(design[train], nets.ms[train])
    return predicted


def mape(predicted: Floats, ms: Floats) -> float:
    """Mean absolute error in percent of the measured time."""
    return float(100 * np.mean(np.abs(predicted - ms) / ms))


def errors(predicted: Floats, ms: Floats) -> dict[str, float]:
    """How far predictions are off: MAPE, its median and 90 % quantile, shares, rank correlation."""
    from scipy.stats import kendalltau

    off = 100 * np.abs(predicted - ms) / ms
    return {
        "mape": round(float(off.mean()), 2),
        "median": round(float(np.median(off)), 2),
        "p90": round(float(np.quantile(off, 0.9)), 2),
        "within_10": round(float(100 * np.mean(off <= 10)), 1),
        "within_20": round(float(100 * np.mean(off <= 20)), 1),
        "kendall_tau": round(float(kendalltau(predicted, ms).statistic), 3),
    }


def choose_further(nets: Networks, base: Sequence[str], candidates: Sequence[str]) -> str | None:
    """The further term that helps most, or None.

    A term qualifies where it lowers the family-left-out error both in the gate and without it; of
    those that do, the one with the lowest error without the gate, which more networks have a say in.
    """

    def scores(terms: Sequence[str]) -> tuple[float, float]:
        predicted = left_out(nets, terms, by=nets.families)
        return mape(predicted[nets.inside], nets.ms[nets.inside]), mape(predicted, nets.ms)

    inside, everywhere = scores(base)
    found = {name: scores([*base, name]) for name in candidates}
    better = {name: s for name, s in found.items() if s[0] < inside and s[1] < everywhere}
    return min(better, key=lambda name: better[name][1]) if better else None


def left_out_with_choice(nets: Networks, base: Sequence[str], candidates: Sequence[str]) -> Floats:
    """As `left_out` by family, the choice of the further term being made without the family as well."""
    predicted = np.empty(len(nets.ms))
    for family in np.unique(nets.families):
        held = nets.families == family
        rest = _subset(nets, ~held)
        further = choose_further(rest, base, candidates)
        terms = [*base, further] if further else list(base)
        parameters = fit(rest.design(terms)[rest.inside], rest.ms[rest.inside])
        predicted[held] = nets.design(terms)[held] @ parameters
    return predicted


def noise_floor(rows: Sequence[Measurement], *, cohort: str) -> tuple[int, float]:
    """Pairs of measurements of one network in a cohort; mean difference in percent of their mean."""
    pairs = [pair for group in _by_network(rows, cohort).values() for pair in combinations(group, 2)]
    gaps = [200 * abs(a.ms - b.ms) / (a.ms + b.ms) for a, b in pairs]
    return len(pairs), float(np.mean(gaps)) if gaps else float("nan")


def network_name(row: Measurement) -> str:
    """What tells networks apart: name and resolution."""
    return f"{row.network}@{row.resolution}"


def _by_network(rows: Sequence[Measurement], cohort: str) -> dict[str, list[Measurement]]:
    groups: dict[str, list[Measurement]] = {}
    for row in rows:
        if row.cohort == cohort:
            groups.setdefault(network_name(row), []).append(row)
    return groups


def _subset(nets: Networks, mask: Bools) -> Networks:
    return Networks(
        names=tuple(np.array(nets.names)[mask]),
        families=nets.families[mask],
        ms=nets.ms[mask],
        inside=nets.inside[mask],
        values={name: values[mask] for name, values in nets.values.items()},
    )
