"""The errors that a calibrated device's file states about itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hvnas.latency.calibrate import (
    Floats,
    Networks,
    errors,
    fit,
    left_out,
    left_out_with_choice,
    mape,
    network_name,
    networks,
    noise_floor,
)
from hvnas.latency.gate import Rule
from hvnas.latency.interval import Student, fit_student
from hvnas.latency.rows import Measurement


def error_report(
    rows: Sequence[Measurement],
    rules: Sequence[Rule],
    *,
    cohort: str,
    base: Sequence[str],
    further: Sequence[str],
    candidates: Sequence[str],
) -> dict[str, Any]:
    """Left-out errors of `base` + `further` on a cohort, in the gate and without it; MACs alone beside them.

    Every error is a percentage of the measured time, over networks (the mean of a network's
    measurements); the fit is always to networks in the gate.
    """
    nets = networks(rows, rules, cohort=cohort)
    terms = [*base, *further]
    pairs, floor = noise_floor(rows, cohort=cohort)
    with_choice = left_out_with_choice(nets, base, [c for c in candidates if c not in base])
    return {
        "cohort": cohort,
        "measurements": sum(row.cohort == cohort for row in rows),
        "networks": len(nets.ms),
        "networks_in_gate": int(nets.inside.sum()),
        "families": len(set(nets.families)),
        "noise_floor": {"pairs": pairs, "mape": round(floor, 2)},
        "family_left_out": _both(nets, left_out(nets, terms, by=nets.families)),
        "model_left_out": _both(nets, left_out(nets, terms, by=nets.names)),
        "family_left_out_without_the_further_term": _both(nets, left_out(nets, base, by=nets.families)),
        "family_left_out_choice_of_term_included": _both(nets, with_choice),
        "family_left_out_macs_alone": _both(nets, left_out(nets, ["macs"], by=nets.families)),
        "model_left_out_macs_alone": _both(nets, left_out(nets, ["macs"], by=nets.names)),
        "candidates": [_candidate(nets, base, name, further) for name in candidates],
        "other_cohorts": [
            _other(rows, rules, nets, terms, name) for name in sorted({row.cohort for row in rows} - {cohort})
        ],
    }


def left_out_students(
    rows: Sequence[Measurement], rules: Sequence[Rule], *, cohort: str, terms: Sequence[str]
) -> tuple[Student, Student]:
    """The error in the gate and the error outside of it, family left out, four digits.

    In the gate e is that of every single measurement, which is what a user will make. Outside, where
    few networks make up most of the measurements, it is that of every network's mean.
    """
    nets = networks(rows, rules, cohort=cohort)
    predicted = left_out(nets, terms, by=nets.families)
    by_name = dict(zip(nets.names, predicted, strict=True))
    gate = dict(zip(nets.names, nets.inside, strict=True))
    measured = [(network_name(row), row.ms) for row in rows if row.cohort == cohort]
    inside = np.array([np.log(ms / by_name[name]) for name, ms in measured if gate[name]])
    outside = np.log(nets.ms / predicted)[~nets.inside]
    return (
        _rounded(fit_student(inside, families=len(set(nets.families[nets.inside])))),
        _rounded(fit_student(outside, families=len(set(nets.families[~nets.inside])))),
    )


def _rounded(student: Student) -> Student:
    return Student(*(float(f"{value:.4g}") for value in (student.df, student.loc, student.scale)))


def _both(nets: Networks, predicted: Floats) -> dict[str, dict[str, float]]:
    return {
        "in_gate": errors(predicted[nets.inside], nets.ms[nets.inside]),
        "without_gate": errors(predicted, nets.ms),
    }


def _candidate(nets: Networks, base: Sequence[str], name: str, further: Sequence[str]) -> dict[str, Any]:
    predicted = left_out(nets, [*base, name], by=nets.families)
    return {
        "column": name,
        "in_gate": round(mape(predicted[nets.inside], nets.ms[nets.inside]), 2),
        "without_gate": round(mape(predicted, nets.ms), 2),
        "enters": name in further,
    }


def _other(
    rows: Sequence[Measurement], rules: Sequence[Rule], nets: Networks, terms: Sequence[str], cohort: str
) -> dict[str, Any]:
    """How the fit to one cohort does on another, none of whose times it has seen."""
    parameters = fit(nets.design(terms)[nets.inside], nets.ms[nets.inside])
    others = networks(rows, rules, cohort=cohort)
    predicted = others.design(terms) @ parameters
    report: dict[str, Any] = {"cohort": cohort, "networks": len(others.ms)}
    report["networks_in_gate"] = int(others.inside.sum())
    if others.inside.any():
        report["mape_in_gate"] = round(mape(predicted[others.inside], others.ms[others.inside]), 2)
    report["mape_without_gate"] = round(mape(predicted, others.ms), 2)
    return report
