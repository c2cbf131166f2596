"""The errors that a calibrated device's file states about itself, and the choice of its terms.

Which terms a calibrated device has: one at a time, judged with families left out.

A candidate qualifies where it lowers the family-left-out error of all networks and, of those in the gate,
raises it by no more than `ALLOWANCE` points: what only networks outside the gate contain cannot lower that
one. Of those that qualify, the one that lowers the first error most enters, and so on. How many enter is
judged with the choice inside the left-out family's fit: as many as keep lowering that error too, each by more
than its standard error over families. Errors of families that are not counted (``Evidence.uncounted``) have
no say in either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from hvnas.latency.calibration.calibrate import (
    Candidate,
    Evidence,
    Floats,
    Networks,
    cost,
    errors,
    mape,
    network_name,
    networks,
    noise_floor,
)
from hvnas.latency.device import Rule
from hvnas.latency.model import Term
from hvnas.latency.rows import Measurement
from hvnas.latency.scores import Pace, StudentT, fit_student_t

ALLOWANCE = 0.1
MOST = 3
AT_LEAST = 5  # networks, of which the growth of an error is told


@dataclass(frozen=True)
class Calibration:
    """A fit to one cohort: what it rests on, which candidates it chose from, and which entered."""

    rows: tuple[Measurement, ...]
    rules: tuple[Rule, ...]
    cohort: str
    evidence: Evidence
    candidates: tuple[Candidate, ...]
    chosen: tuple[Candidate, ...]
    with_choice: tuple[Floats, ...]

    @property
    def terms(self) -> list[str]:
        """The columns that have a cost."""
        return self.evidence.terms(self.chosen)

    @property
    def predicted(self) -> Floats:
        """Milliseconds [n] of the cohort's networks, family left out."""
        return self.evidence.family_left_out(self.chosen)


def calibrate(
    rows: Sequence[Measurement],
    rules: Sequence[Rule],
    evidence: Evidence,
    *,
    cohort: str,
    candidates: Sequence[Candidate],
) -> Calibration:
    """Choose the terms of a device, and how many, as hvnas.latency.calibration.error_report says."""
    with_choice = left_out_with_choice(evidence, candidates)
    chosen = choose(evidence, candidates, most=how_many(evidence, with_choice))
    return Calibration(
        tuple(rows), tuple(rules), cohort, evidence, tuple(candidates), tuple(chosen), tuple(with_choice)
    )


def error_report(fitted: Calibration) -> dict[str, Any]:
    """Left-out errors of a calibration on its cohort, in the gate and without it; MACs alone beside them.

    Every error is a percentage of the measured time, over networks (the mean of a network's
    measurements); the fit is always to networks in the gate.
    """
    evidence, nets, chosen = fitted.evidence, fitted.evidence.nets, fitted.chosen
    macs = Evidence(nets, ("macs",))
    pairs, floor = noise_floor(fitted.rows, cohort=fitted.cohort)
    report: dict[str, Any] = {
        "cohort": fitted.cohort,
        "measurements": sum(row.cohort == fitted.cohort for row in fitted.rows),
        "networks": len(nets.ms),
        "networks_in_gate": int(nets.inside.sum()),
        "families": len(set(nets.families)),
        "noise_floor": {"pairs": pairs, "mape": round(floor, 2) if pairs else None},
        "family_left_out": _both(nets, fitted.predicted),
        "model_left_out": _both(nets, evidence.left_out(chosen, by=nets.names)),
    }
    if fitted.candidates:
        report |= _choice(fitted)
    if evidence.prior:
        alone = replace(evidence, prior=None)
        report |= {"family_left_out_without_the_prior": _both(nets, alone.family_left_out(chosen))}
    return report | {
        "family_left_out_macs_alone": _both(nets, macs.family_left_out()),
        "model_left_out_macs_alone": _both(nets, macs.left_out(by=nets.names)),
        "by_family": _by_family(nets, fitted.predicted),
        "parameters_family_left_out": _ranges(fitted),
        "other_cohorts": [
            _other(fitted, name) for name in sorted({r.cohort for r in fitted.rows} - {fitted.cohort})
        ],
    }


def _choice(fitted: Calibration) -> dict[str, Any]:
    """What the choice of terms rests on."""
    nets, chosen = fitted.evidence.nets, fitted.chosen
    return {
        "given": [c.name for c in fitted.evidence.given],
        "families_without_a_say": list(fitted.evidence.uncounted),
        "family_left_out_without_the_further_terms": _both(nets, fitted.evidence.family_left_out()),
        "family_left_out_choice_of_terms_included": _both(nets, fitted.with_choice[len(chosen)]),
        "choice_included_by_number_of_terms": [_pair(nets, ms) for ms in fitted.with_choice],
        "entered": {
            c.name: _pair(nets, fitted.evidence.family_left_out(chosen[: i + 1]))
            for i, c in enumerate(chosen)
        },
        "candidates": candidate_errors(fitted, given=()),
    }


def left_out_students(fitted: Calibration) -> tuple[StudentT, StudentT]:
    """The error in the gate and the error outside of it, family left out of fit and choice, four digits.

    In the gate e is that of every single measurement, which is what a user will make. Outside, where
    few networks make up most of the measurements, it is that of every network's mean.
    """
    nets, predicted = fitted.evidence.nets, fitted.with_choice[len(fitted.chosen)]
    by_name = dict(zip(nets.names, predicted, strict=True))
    gate = dict(zip(nets.names, nets.inside, strict=True))
    measured = [(network_name(row), row.ms) for row in fitted.rows if row.cohort == fitted.cohort]
    inside = np.array([np.log(ms / by_name[name]) for name, ms in measured if gate[name]])
    outside = np.log(nets.ms / predicted)[~nets.inside]
    return (
        _rounded(fit_student_t(inside, families=len(set(nets.families[nets.inside])))),
        _rounded(fit_student_t(outside, families=len(set(nets.families[~nets.inside])))),
    )


def left_out_pace(fitted: Calibration) -> Pace:
    """The fastest measured network in the gate, in MACs a millisecond, and how the error grows beyond that.

    Told by predicting faster networks from slower ones: of a fit to networks up to some pace, and of those
    beyond it whose family it has not seen, the growth is that which, with the error in the gate, makes up the
    mean square of e. The largest of all paces that leave `AT_LEAST` networks on either side; four digits.
    """
    nets, macs = fitted.evidence.nets, fitted.evidence.nets.values["macs"]
    inside, _ = left_out_students(fitted)
    paces = np.sort((macs / nets.ms)[nets.inside])
    growths = [_growth(fitted, pace, inside.scale) for pace in paces[AT_LEAST:]]
    rounded = (float(f"{value:.4g}") for value in (paces[-1], max(growths)))
    return Pace(*rounded)


def _growth(fitted: Calibration, pace: float, scale: float) -> float:
    evidence, found = fitted.evidence, []
    for family in np.unique(evidence.nets.families):
        rest, held = evidence.without(family), evidence.nets.families == family
        slow = rest.nets.where(rest.nets.values["macs"] <= pace * rest.nets.ms)
        faster = evidence.nets.where(held & evidence.nets.inside)
        if slow.inside.sum() < AT_LEAST or not faster.inside.any():
            continue
        predicted = replace(rest, nets=slow).predicted(faster, fitted.chosen)
        kept = (slow.values["macs"] / slow.ms)[slow.inside].max()
        beyond = np.log(faster.values["macs"] / predicted / kept)
        found += [(x, e) for x, e in zip(beyond, np.log(faster.ms / predicted), strict=True) if x > 0]
    if len(found) < AT_LEAST:
        return 0.0
    x, e = np.array(found).T
    return float(np.sqrt(max(0.0, np.sum(e**2 - scale**2) / np.sum(x**2))))


def _rounded(student: StudentT) -> StudentT:
    return StudentT(*(float(f"{value:.4g}") for value in (student.df, student.loc, student.scale)))


def _both(nets: Networks, predicted: Floats) -> dict[str, dict[str, float]]:
    return {
        "in_gate": errors(predicted[nets.inside], nets.ms[nets.inside]),
        "all_networks": errors(predicted, nets.ms),
    }


def _pair(nets: Networks, predicted: Floats) -> list[float]:
    """MAPE in the gate and without it."""
    both = score(nets, predicted)
    return [round(both.inside, 2), round(both.everywhere, 2)]


def _by_family(nets: Networks, predicted: Floats) -> dict[str, dict[str, Any]]:
    """Each family's error when it is left out, the worst first; how many of its networks are in the gate."""
    found: dict[str, dict[str, Any]] = {}
    for family in np.unique(nets.families):
        held = nets.families == family
        ratio = nets.ms[held] / predicted[held]
        found[str(family)] = {
            "mape": round(mape(predicted[held], nets.ms[held]), 2),
            "networks": int(held.sum()),
            "in_gate": int((held & nets.inside).sum()),
            "measured_to_predicted": [round(float(ratio.min()), 2), round(float(ratio.max()), 2)],
        }
    return dict(sorted(found.items(), key=lambda item: -item[1]["mape"]))


def _ranges(fitted: Calibration) -> dict[str, list[float]]:
    """The smallest and the largest value of each parameter as one family after another is left out."""
    found: dict[str, list[float]] = {name: [] for name in ("fixed_ms", *fitted.terms)}
    for family in np.unique(fitted.evidence.nets.families):
        rest = fitted.evidence.without(family)
        names = ["fixed_ms", *rest.terms(fitted.chosen)]
        for name, value in zip(names, rest.parameters(fitted.chosen), strict=True):
            found[name].append(value)
    return {name: [float(f"{v:.4g}") for v in (min(x), max(x))] for name, x in found.items()}


def candidate_errors(fitted: Calibration, *, given: Sequence[Candidate]) -> dict[str, list[float]]:
    """Family-left-out errors, in the gate and without it, with each candidate in turn beside `given`."""
    evidence = fitted.evidence
    return {
        candidate.name: _pair(evidence.nets, evidence.family_left_out([*given, candidate]))
        for candidate in fitted.candidates
        if candidate not in given
    }


def published_and_predicted(fitted: Calibration) -> dict[str, list[float]]:
    """Milliseconds of every published difference, in the fit or not, and what the fit makes of them."""
    costs = fitted.evidence.parameters(fitted.chosen)[1:].tolist()
    terms = [*fitted.evidence.known, *map(Term, fitted.terms, costs)]
    return {d.name: [d.ms, round(float(cost(terms, d.values)), 3)] for d in fitted.evidence.differences}


def _other(fitted: Calibration, cohort: str) -> dict[str, Any]:
    """How the fit to one cohort does on another, none of whose times it has seen."""
    others = networks(fitted.rows, fitted.rules, cohort=cohort)
    predicted = fitted.evidence.predicted(others, fitted.chosen)
    report: dict[str, Any] = {"cohort": cohort, "networks": len(others.ms)}
    report["networks_in_gate"] = int(others.inside.sum())
    if others.inside.any():
        report["mape_in_gate"] = round(mape(predicted[others.inside], others.ms[others.inside]), 2)
    report["mape_all_networks"] = round(mape(predicted, others.ms), 2)
    return report


@dataclass(frozen=True, slots=True)
class Score:
    """Two mean absolute errors in percent: of the networks in the gate, and of all."""

    inside: float
    everywhere: float

    def improves(self, other: Score) -> bool:
        """Whether this is better than `other`, in the sense of the module."""
        return self.everywhere < other.everywhere and self.inside <= other.inside + ALLOWANCE


def score(nets: Networks, predicted: Floats) -> Score:
    """The errors of predicted milliseconds [n]."""
    inside = nets.inside
    return Score(mape(predicted[inside], nets.ms[inside]), mape(predicted, nets.ms))


def judged(evidence: Evidence, predicted: Floats) -> Score:
    """The errors that decide: those of families that count."""
    counted = ~np.isin(evidence.nets.families, evidence.uncounted)
    return score(evidence.nets.where(counted), predicted[counted])


def gain(evidence: Evidence, before: Floats, after: Floats) -> tuple[float, float]:
    """By how many points `after` [n] errs less than `before`, and its standard error over families."""
    nets = evidence.nets
    less = 100 * (np.abs(before - nets.ms) - np.abs(after - nets.ms)) / nets.ms
    counted = ~np.isin(nets.families, evidence.uncounted)
    less, families = less[counted], nets.families[counted]
    mean = less.mean()
    sums = np.array([(less - mean)[families == family].sum() for family in np.unique(families)])
    spread = np.sqrt(np.sum(sums**2) * len(sums) / max(1, len(sums) - 1))
    return float(mean), float(spread / len(less))


def choose(evidence: Evidence, candidates: Sequence[Candidate], *, most: int = MOST) -> list[Candidate]:
    """Up to `most` candidates, in the order in which they enter."""
    chosen: list[Candidate] = []
    reached = judged(evidence, evidence.family_left_out(chosen))
    while len(chosen) < most:
        rest = [c for c in candidates if c not in chosen]
        found = {c: judged(evidence, evidence.family_left_out([*chosen, c])) for c in rest}
        better = [c for c, s in found.items() if s.improves(reached)]
        if not better:
            break
        chosen.append(min(better, key=lambda c: found[c].everywhere))
        reached = found[chosen[-1]]
    return chosen


def left_out_with_choice(evidence: Evidence, candidates: Sequence[Candidate]) -> list[Floats]:
    """Milliseconds [n], family left out of fit and choice, of up to 0, 1, ... `MOST` candidates."""
    nets = evidence.nets
    counts = range(min(MOST, len(candidates)) + 1)
    predicted = [np.empty(len(nets.ms)) for _ in counts]
    for family in np.unique(nets.families):
        held, rest = nets.families == family, evidence.without(family)
        chosen = choose(rest, candidates)
        for most in counts:
            predicted[most][held] = rest.predicted(nets.where(held), chosen[:most])
    return predicted


def how_many(evidence: Evidence, with_choice: Sequence[Floats]) -> int:
    """How many candidates may enter, from the milliseconds, choice included, of up to 0, 1, ... of them."""
    count = 0
    for before, after in pairwise(with_choice):
        less, noise = gain(evidence, before, after)
        if not (judged(evidence, after).improves(judged(evidence, before)) and less > noise):
            break
        count += 1
    return count
