"""Fitting the parameters of a calibrated device to measured networks and published differences.

Everything here reads measured rows only: no network is traced, no device is touched.

Published differences: what one change to a network, or one part of it, was measured to take.

A CSV row each. They say what a single cost is where whole networks, which differ in everything, do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from hvnas._records import Cell, Row, read_csv
from hvnas.latency.calibration.recalibrate import refit
from hvnas.latency.columns import list_columns
from hvnas.latency.device import Rule
from hvnas.latency.model import LinearModel, Term
from hvnas.latency.rows import LONGEST_MS, Measurement, Time, column_values, rows_csv
from hvnas.latency.scores import scores

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
# How much better a difference is known than the time of the network it was found on, by what it is about.
# RepViT prints its rows on squeeze-excitation to 0.01 of about 1 ms, from one tool and phone; two times
# of one network differ by 3.5 % on average.
SHARPNESS = {"gate": 4.0}
ERRORS = ("mape", "median", "p90", "within_10", "within_20", "kendall_tau")

FIELDS = ("name", "about", "families", "ms", "of_ms", "protocol", "source")
Text = Annotated[str, Cell(advice="a difference says what it is and where it is from")]


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

    def where(self, mask: Bools) -> Networks:
        """Those where `mask` [n] is true."""
        return Networks(
            names=tuple(np.array(self.names)[mask]),
            families=self.families[mask],
            ms=self.ms[mask],
            inside=self.inside[mask],
            values={name: values[mask] for name, values in self.values.items()},
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may enter a fit: a column, and the differences about one of `about`; either may be none."""

    column: str = ""
    about: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The column, and what its differences are about."""
        told = f"differences about {' and '.join(self.about)}" if self.about else ""
        return ", ".join(part for part in (self.column, told) if part)


@dataclass(frozen=True)
class Evidence:
    """What a device is fitted to: networks of one cohort, published differences, terms that are always in.

    With a `prior`, that of another device, the parameters are the other device's refitted to these
    networks (hvnas.latency.calibration.recalibrate) instead of fitted to them alone. `given` are in every
    fit, whatever is chosen beside them; one that differences tell of only while one of them is left. `known`
    are costs that are not fitted: the fit explains what they leave. Families in `uncounted` are fitted, but
    have no say in what is chosen.
    """

    nets: Networks
    base: tuple[str, ...]
    differences: tuple[Difference, ...] = ()
    prior: Evidence | None = None
    given: tuple[Candidate, ...] = ()
    known: tuple[Term, ...] = ()
    uncounted: tuple[str, ...] = ()

    def terms(self, chosen: Sequence[Candidate] = ()) -> list[str]:
        """The columns whose cost is fitted: the base, what is given, and those of `chosen`."""
        named = [c.column for c in (*self._told_of(), *chosen) if c.column]
        return list(dict.fromkeys([*self.base, *named]))

    def differences_of(self, chosen: Sequence[Candidate] = ()) -> list[Difference]:
        """The differences that what is given and `chosen` bring."""
        about = {topic for candidate in (*self._told_of(), *chosen) for topic in candidate.about}
        return [d for d in self.differences if d.about in about]

    def _told_of(self) -> list[Candidate]:
        """What is given and, where differences tell of it, has one left."""
        left = {d.about for d in self.differences}
        return [c for c in self.given if not c.about or left.intersection(c.about)]

    def without(self, name: str) -> Evidence:
        """What is left without a family, or without a network: its measurements here and in the prior, and
        the differences that tell of the family."""
        mask = (self.nets.families != name) & (np.array(self.nets.names) != name)
        told = tuple(d for d in self.differences if not d.tells_of(name))
        prior = self.prior.without(name) if self.prior else None
        return replace(self, nets=self.nets.where(mask), differences=told, prior=prior)

    def parameters(self, chosen: Sequence[Candidate] = ()) -> Floats:
        """The fixed cost and the cost of each of `terms`, from the networks in the gate."""
        terms, nets = self.terms(chosen), self.nets.where(self.nets.inside)
        if self.prior is None:
            return fit_jointly(nets, terms, self.differences_of(chosen), known=self.known)
        fixed, *costs = self.prior.parameters(chosen).tolist()
        prior = LinearModel(fixed, tuple(map(Term, terms, costs)))
        model = refit(prior, np.stack([nets.values[c.name] for c in prior.columns], axis=1), nets.ms)
        return np.array([model.fixed_ms, *(term.ms_per_mega for term in model.terms)])

    def predicted(self, nets: Networks, chosen: Sequence[Candidate] = ()) -> Floats:
        """Milliseconds [n] of `nets`, whose times have no say."""
        return nets.design(self.terms(chosen)) @ self.parameters(chosen) + cost(self.known, nets.values)

    def left_out(self, chosen: Sequence[Candidate] = (), *, by: Sequence[str] | NDArray[np.str_]) -> Floats:
        """Milliseconds [n] of every network, from what is left without its group.

        `by` names each network's group: its family, or its own name for one model at a time. Networks
        outside the gate are predicted, as a device would, but never fitted.
        """
        group = np.asarray(by)
        predicted = np.empty(len(group))
        for name in np.unique(group):
            predicted[group == name] = self.without(name).predicted(self.nets.where(group == name), chosen)
        return predicted

    def family_left_out(self, chosen: Sequence[Candidate] = ()) -> Floats:
        """`left_out` by family."""
        return self.left_out(chosen, by=self.nets.families)


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


def cost(terms: Sequence[Term], values: Mapping[str, Any]) -> Any:
    """Milliseconds of `terms`: a number, or an array, as the columns in `values` are."""
    return sum(values[term.column] * (term.ms_per_mega / 1e6) for term in terms)


def fit(design: Floats, ms: Floats, *, of_ms: Floats | None = None) -> Floats:
    """Non-negative least squares of the relative error: parameters, one per column of `design`.

    Errors are relative to `of_ms`, which is `ms` unless it is given.
    """
    from scipy.optimize import nnls

    of_ms = ms if of_ms is None else of_ms
    solution: Floats = nnls(design / of_ms[:, None], ms / of_ms)[0]
    return solution


def fit_jointly(
    nets: Networks,
    terms: Sequence[str],
    differences: Sequence[Difference] = (),
    *,
    known: Sequence[Term] = (),
) -> Floats:
    """The fixed cost and the cost of each term, from networks and from published differences.

    What `known` terms cost is taken off the times first. A difference's error is relative to the time of the
    network it was found on, not to its own: what is known of a time is known to some percent of that time,
    and a difference of times no better, unless `SHARPNESS` says so.
    """
    costs = [[0.0, *(d.values[name] / 1e6 for name in terms)] for d in differences]
    return fit(
        np.vstack([nets.design(terms), np.reshape(costs, (-1, 1 + len(terms)))]),
        np.concatenate(
            [nets.ms - cost(known, nets.values), [d.ms - cost(known, d.values) for d in differences]]
        ),
        of_ms=np.concatenate([nets.ms, [d.of_ms / SHARPNESS.get(d.about, 1.0) for d in differences]]),
    )


def mape(predicted: Floats, ms: Floats) -> float:
    """Mean absolute error in percent of the measured time."""
    return float(100 * np.mean(np.abs(predicted - ms) / ms))


def errors(predicted: Floats, ms: Floats) -> dict[str, float]:
    """How far predictions are off: MAPE, its median and 90 % quantile, shares, rank correlation."""
    found = scores(predicted, ms)
    return {name: found[name] for name in ERRORS}


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


@dataclass(frozen=True, slots=True)
class Difference:
    """`ms` that a change adds to a network of `of_ms` milliseconds, and what it adds to each column.

    `about` is the cost that it speaks of, `families` (a word each) the families of which it tells
    something: left out with any of them.
    """

    name: Text
    about: Text
    families: Text
    ms: Annotated[float, Cell(least=-LONGEST_MS, most=LONGEST_MS)]
    of_ms: Time
    protocol: Text
    source: Text
    values: Mapping[str, float]

    def tells_of(self, family: str) -> bool:
        """Whether `family` is one of its families."""
        return family in self.families.split()


def read_differences(path: str | Path) -> tuple[Difference, ...]:
    """The rows of a CSV file that `write_differences` wrote.

    Raises ValueError naming file, row and field: columns missing or unknown, empty text, numbers that are
    none.
    """
    return tuple(map(_row, read_csv(path, FIELDS, optional=list_columns())))


def write_differences(rows: Sequence[Difference]) -> str:
    """The text that `read_differences` reads."""
    return rows_csv(rows, FIELDS, times=("ms", "of_ms"))


def _row(row: Row) -> Difference:
    return row.record(Difference, {"values": column_values(row, FIELDS)})
