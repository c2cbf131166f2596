"""A surrogate and a device that have never seen the families under test, and searches with them.

Nothing here is fitted in another way than for the shipped ones: the regression, the choice of a device's
terms and the fit of its parameters are made again on what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hvnas._files import data_dir
from hvnas.accuracy.estimator import Estimate
from hvnas.accuracy.surrogate.evidence import Shift, fit_shift, pairs
from hvnas.accuracy.surrogate.features import Array
from hvnas.accuracy.surrogate.surrogate import Surrogate
from hvnas.latency.calibration.calibrate import Candidate, Evidence, networks, read_differences
from hvnas.latency.calibration.error_report import Calibration, calibrate, left_out_students
from hvnas.latency.device import Device
from hvnas.latency.model import LatencyModel, LinearModel, Term
from hvnas.search import SearchResult, search
from hvnas.search.making import make_problem
from hvnas.search.problem import Problem
from hvnas.space import Space

Gate = Literal["on", "others", "off"]
# Fewer do not reach the same network with every seed; whom to blame is a coarser question.
EVALS, BLAME_EVALS = 30_000, 10_000

BASE = ("weight_bytes", "act_bytes")  # of devices whose file does not say what was given
_ABOUT = "differences about "


@dataclass(frozen=True, repr=False)
class SurrogateWithout(Surrogate):
    """The surrogate on what is left of the evidence; `shift` is what large data adds, fitted likewise."""

    shift: Shift | None = None

    def estimate_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate:
        """As the surrogate's, with the shift of the families that are left."""
        found = super().estimate_columns(values, recipe=recipe)
        if scenario == "imagenet1k" or self.shift is None:
            return found
        shift, sd = self.shift(values)
        return Estimate(found.mean + shift, np.hypot(found.sd, sd))

    def joint_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> tuple[Array, Array]:
        """As the surrogate's, with the shift of the families that are left."""
        mean, covariance = super().joint_columns(values, recipe=recipe)
        if scenario == "imagenet1k" or self.shift is None:
            return mean, covariance
        shift, spread = self.shift.joint(values)
        return mean + shift, covariance + spread


def surrogate_without(surrogate: Surrogate, families: Sequence[str]) -> SurrogateWithout:
    """`surrogate` on the evidence without `families`: results, ablations, theory, and large-data pairs.

    The hyperparameters are those of the fold that lacks the first of `families`, with its relatives. Raises
    ValueError for a family that the evidence does not hold.
    """
    evidence = surrogate.evidence
    for family in families:
        if not (evidence.families == family).any():
            raise ValueError(f"family: the evidence holds no {family!r}; see hvnas accuracy evaluate --help")
    kept = ~np.isin(evidence.families, list(families))
    return SurrogateWithout(
        evidence=evidence.where(kept),
        thetas=surrogate.thetas_without(families),
        sd_scale=surrogate.sd_scale,
        error={},
        shift=_shift_without(surrogate, families),
    )


def _shift_without(surrogate: Surrogate, families: Sequence[str]) -> Shift:
    names, values, shift, studies = pairs()
    evidence = surrogate.evidence
    family = dict(zip(evidence.networks.tolist(), evidence.families.tolist(), strict=True))
    kept: NDArray[np.bool_] = np.array([family[name] not in families for name in names])
    return fit_shift(values[kept], shift[kept], studies[kept])


@dataclass(frozen=True)
class DeviceWithout:
    """A device fitted without families, and what its terms were chosen from.

    `measurements` are those left out; `gate` names the rules whose evidence cites the families' own papers.
    """

    device: Device
    terms: tuple[str, ...]
    measurements: int
    gate: tuple[str, ...]


def device_without(device: Device, families: Sequence[str], *, cited: Sequence[str]) -> DeviceWithout:
    """`device` fitted again without every measurement of `families` and every difference that tells of them.

    Terms are chosen again from the candidates that the device's file lists, as many as pay without the
    families; the floor, which is the hardware's, stays, and so does the gate. Rules that mention one of
    `cited` are named, for their evidence is the families' own. Raises ValueError for a device that was not
    calibrated on published networks.
    """
    report = device.report
    candidates = report.get("candidates")
    listed = isinstance(candidates, Mapping) and all(isinstance(name, str) for name in candidates)
    if not (isinstance(device.model, LinearModel) and listed and "cohort" in report):
        raise ValueError(
            f"device: {device.name} was not calibrated on published networks, from which a family could be "
            "left out; choose iphone12"
        )
    fitted = _calibrated(device, families)
    fixed, *costs = fitted.evidence.parameters(fitted.chosen).tolist()
    inside, outside = left_out_students(fitted)
    terms = (*fitted.evidence.known, *map(Term, fitted.terms, costs))
    model = LinearModel(fixed, terms, device.model.floor)
    name = f"{device.name} without {' and '.join(families)}"
    return DeviceWithout(
        device=replace(
            device,
            name=name,
            hash=f"{device.hash}-{'-'.join(families)}",
            model=model,
            inside_error=inside,
            outside_error=outside,
        ),
        terms=tuple(term.column for term in terms),
        measurements=sum(row.family in families and row.cohort == fitted.cohort for row in device.rows),
        gate=tuple(rule.name for rule in device.rules if any(word in rule.evidence for word in cited)),
    )


def _calibrated(device: Device, families: Sequence[str]) -> Calibration:
    cohort = str(device.report["cohort"])
    told = read_differences(data_dir("latency_tables") / f"{device.name}_differences.csv")
    given = tuple(candidate_of(name) for name in device.report.get("given", ()))
    evidence = Evidence(
        networks(device.rows, device.rules, cohort=cohort),
        () if given else BASE,
        told,
        given=given,
        known=known_terms(device.model),
    )
    for family in families:
        evidence = evidence.without(family)
    rows = [row for row in device.rows if row.family not in families]
    candidates = [candidate_of(name) for name in device.report["candidates"]]
    return calibrate(rows, device.rules, evidence, cohort=cohort, candidates=candidates)


def known_terms(model: LatencyModel) -> tuple[Term, ...]:
    """The terms that no fit sets: those that are the model's floor as well."""
    if not isinstance(model, LinearModel):
        return ()
    columns = {term.column for term in model.floor}
    return tuple(term for term in model.terms if term.column in columns)


def candidate_of(name: str) -> Candidate:
    """The reverse of ``Candidate.name``, under which a device's file lists its candidates."""
    column, found, about = name.partition(_ABOUT)
    return Candidate(column.rstrip(", "), tuple(about.split(" and ")) if found else ())


@dataclass(frozen=True)
class Setting:
    """What all searches share. `evals` networks each; `peers` random members; `seeds` searches."""

    space: Space
    device: DeviceWithout
    surrogate: SurrogateWithout
    seen_device: Device
    seen_surrogate: Surrogate
    recipe: str
    evals: int
    peers: int
    seeds: int
    gates: tuple[Gate, ...]
    strategy: str = "evolution"

    def at(self, device: Device, gate: Gate) -> Device:
        """`device` with the rules that count under `gate`."""
        kept = [rule for rule in device.rules if rule.name not in self.device.gate]
        return replace(device, rules=tuple(kept)) if gate == "others" else device

    def problem(self, ms: float, gate: Gate) -> Problem:
        """The problem of staying below `ms`, predicted, whatever the interval."""
        return make_problem(
            self.space,
            self.at(self.device.device, gate),
            self.surrogate,
            budget_ms=ms,
            margin=0.0,
            recipe=self.recipe,
            outside=_outside(gate),
        )

    def search(
        self, ms: float, gate: Gate, *, seed: int, device: Device | None = None, seen: bool = False
    ) -> SearchResult:
        """A search that begins from no model of any paper.

        With a `device` it asks whom to blame, with fewer evaluations; `seen`: the surrogate knows the family.
        """
        return search(
            self.space,
            self.at(device or self.device.device, gate),
            budget_ms=ms,
            strategy=self.strategy,
            recipe=self.recipe,
            estimator=self.seen_surrogate if seen else self.surrogate,
            evals=self.evals if device is None else min(self.evals, BLAME_EVALS),
            seed=seed,
            margin=0.0,
            outside=_outside(gate),
            fixed_points=False,
        )


def _outside(gate: Gate) -> Literal["forbid", "allow"]:
    return "allow" if gate == "off" else "forbid"
