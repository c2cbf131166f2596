"""How far an estimator can be trusted: its scores on families and ablations that it has not seen.

An estimator that is fitted on the evidence is fitted again without the family, or the study, under test;
its hyperparameters were found without it as well (see scripts/fit_surrogate.py). A score that is not fitted,
such as a count, is read off the same networks as it is: it has ranks and no errors in points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from hvnas._names import unknown_name
from hvnas.accuracy.estimator import AccuracyEstimator, ColumnEstimator, Estimate
from hvnas.accuracy.loading import load_estimator
from hvnas.accuracy.surrogate.ablations import CONTRASTS, Ablation, ablation_values, load_ablations
from hvnas.accuracy.surrogate.evidence import Evidence, load_evidence, recipe_of, study_families
from hvnas.accuracy.surrogate.features import NAMES, Array, derive

# Edges of the bands of about equal MACs, in 1e9.
BANDS = (0.25, 0.5, 1.0, 2.0, 3.5, 5.5)
DRAWS = 1000
# Differences of ablations below half a point are near what two seeds of one training differ by.
CLEAR = 0.5
# How much a difference counts at most: beyond, a layout is broken, and by how much is of no use.
MOST = 4.0


# Hybrid, transformer, pooling and mobile families: what the search spaces are made of.
FAMILIES: tuple[str, ...] = (
    *("efficientformer", "efficientformerv2", "coatnet", "poolformer", "poolformerv2"),
    *("mobilevit", "mobilevitv2", "efficientvit_mit", "vit", "deit", "levit", "repvit", "fastvit"),
    *("mobilenetv2", "maxvit"),
)
SPACE_FAMILIES: tuple[str, ...] = (
    *("efficientformer", "efficientformerv2", "coatnet", "poolformer", "mobilevit", "efficientvit_mit"),
)


GROUPS: dict[str, tuple[str, ...]] = {"all": FAMILIES, "space": SPACE_FAMILIES}


@runtime_checkable
class Refittable(Protocol):
    """An estimator that can be fitted again without a part of its evidence."""

    evidence: Evidence

    def without(self, fold: str, rest: Evidence) -> Predicts:
        """The fit on `rest`, every choice made without `fold`: ``family:NAME`` or ``study:NAME``."""
        ...


@dataclass(frozen=True)
class EvaluatedEstimator:
    """What is evaluated: estimates for the families under test, and for pairs of an ablation study."""

    name: str
    evidence: Evidence
    families: Callable[[Sequence[str]], Estimate]
    pair: Callable[[str], Callable[[Ablation], float]]
    in_points: bool


def evaluate(name: str = "surrogate", families: str | Sequence[str] = "all") -> dict[str, Any]:
    """The error report of the estimator called `name`.

    `families` is ``all`` (the fifteen of `hvnas.accuracy.evaluate.FAMILIES`), ``space`` (those of the search
    spaces), or names. Keys: estimator, overall, families, bands, ablations, baselines. Errors are in
    top-1 points; low and high are the 5 and 95 % quantiles over families drawn with replacement. Raises
    ValueError for an unknown name, and for an estimator that needs weights or images.
    """
    subject = _subject(name, load_estimator(name))
    chosen = _families(families, subject.evidence)
    estimate = subject.families(chosen)
    evidence = subject.evidence
    keep = np.isin(evidence.families, list(chosen)) & ~evidence.papers
    table = _Table(evidence.where(keep), Estimate(estimate.mean[keep], estimate.sd[keep]), subject.in_points)
    return {
        "estimator": name,
        "overall": table.overall(),
        "families": {f: table.of(table.evidence.families == f) for f in chosen},
        "bands": table.bands(),
        "ablations": ablation_report(subject),
        "baselines": {name: _baseline(table, values) for name, values in counts(table.evidence).items()},
    }


def counts(evidence: Evidence) -> dict[str, Array]:
    """Counts that need no fit, by name. Activations include the attention maps. Shape [n] each."""
    read = {name: evidence.values[:, NAMES.index(name)] for name in ("params", "macs", "acts")}
    return read | {"log params + log acts": np.log(read["params"]) + np.log(read["acts"])}


def _families(wanted: str | Sequence[str], evidence: Evidence) -> tuple[str, ...]:
    names = GROUPS.get(wanted, (wanted,)) if isinstance(wanted, str) else tuple(wanted)
    there = sorted({str(family) for family in evidence.families[~evidence.papers]})
    for name in names:
        if name not in there:
            raise ValueError(unknown_name("family", name, [*GROUPS, *there]))
    return tuple(names)


def _subject(name: str, estimator: AccuracyEstimator) -> EvaluatedEstimator:
    if isinstance(estimator, Refittable):
        return _refitted(name, estimator)
    if isinstance(estimator, ColumnEstimator) and {c.name for c in estimator.columns} <= set(NAMES):
        return _counted(name, estimator)
    raise ValueError(
        f"estimator {name!r} needs weights or images, which the published results do not come with; "
        "compare it on networks of your own, with 'hvnas accuracy proxies'"
    )


def _refitted(name: str, estimator: Refittable) -> EvaluatedEstimator:
    evidence = estimator.evidence

    def families(chosen: Sequence[str]) -> Estimate:
        return leave_one_family_out(evidence, estimator.without, chosen)

    def pair(study: str) -> Callable[[Ablation], float]:
        fitted = estimator.without(f"study:{study}", evidence.where(~study_rows(evidence, study)))

        def difference(row: Ablation) -> float:
            base, variant = fitted.predict(pair_features(row)).mean
            return float(variant - base)

        return difference

    return EvaluatedEstimator(name, evidence, families, pair, True)


def _counted(name: str, estimator: ColumnEstimator) -> EvaluatedEstimator:
    evidence = load_evidence()
    at = [NAMES.index(column.name) for column in estimator.columns]

    def families(chosen: Sequence[str]) -> Estimate:
        return estimator.estimate_columns(evidence.values[:, at])

    def pair(study: str) -> Callable[[Ablation], float]:
        def difference(row: Ablation) -> float:
            values = ablation_values()
            both = np.array([values[row.base], values[row.variant]])[:, at]
            base, variant = estimator.estimate_columns(both).mean
            return float(variant - base)

        return difference

    return EvaluatedEstimator(name, evidence, families, pair, False)


def study_rows(evidence: Evidence, study: str) -> NDArray[np.bool_]:
    """The rows that go when a study of the ablations is left out, with all of its networks' families."""
    rows = [row for row in load_ablations() if row.study == study]
    families = list(study_families(evidence, study))
    gone: NDArray[np.bool_] = (evidence.ablations == study) | np.isin(evidence.families, families)
    for row in rows:
        if row.leaves:
            known = zip(evidence.families, evidence.networks, strict=True)
            gone = gone | np.array([row.leaves_out(family, network) for family, network in known])
    return gone


def pair_features(row: Ablation) -> Array:
    """Features of base and variant under the ablation's training. Shape [2, features]."""
    values = ablation_values()
    found = derive(np.array([values[row.base], values[row.variant]]))
    return np.hstack([found, np.broadcast_to(recipe_of(row), (2, len(recipe_of(row))))])


def ablation_report(subject: EvaluatedEstimator) -> dict[str, Any]:
    """Signs of the differences above half a point, each study left out in turn.

    `near` counts the differences that are between half and double of what was published. `seen` leaves out
    the pairs that no feature can tell apart as what they are; `blind` says why.
    """
    rows = load_ablations()
    found = []
    for study in dict.fromkeys(row.study for row in rows):
        difference = subject.pair(study)
        found += [(row, difference(row)) for row in rows if row.study == study]
    clear = [(row, value) for row, value in found if abs(row.delta) > CLEAR]

    def scored(pairs: Sequence[tuple[Ablation, float]]) -> dict[str, Any]:
        mae, near = (_mae(pairs), _near(pairs)) if subject.in_points else (None, None)
        return {**_signs(pairs), "mae": mae, "near": near}

    return {
        **scored(clear),
        "contrasts": {
            contrast: scored([(row, value) for row, value in clear if row.contrast == contrast])
            for contrast in CONTRASTS
        },
        "seen": _signs([(row, value) for row, value in clear if not row.blind]),
        "studies": {
            study: _signs([(row, value) for row, value in clear if row.study == study])
            for study in dict.fromkeys(row.study for row, _ in clear)
        },
        "rows": [_shown(row, value, subject.in_points) for row, value in found],
    }


def _signs(pairs: Sequence[tuple[Ablation, float]]) -> dict[str, Any]:
    right = sum(value * row.delta > 0 for row, value in pairs)
    share = round(right / len(pairs), 3) if pairs else None
    return {"n": len(pairs), "right": right, "share": share}


def _near(pairs: Sequence[tuple[Ablation, float]]) -> int:
    """How many differences have the right sign and between half and double the size that was published."""
    return sum(0.5 <= value / row.delta <= 2.0 for row, value in pairs)


def _mae(pairs: Sequence[tuple[Ablation, float]]) -> float | None:
    """Mean absolute error of differences, where one beyond `MOST` points counts as that."""
    errors = [
        abs(float(np.clip(row.delta, -MOST, MOST) - np.clip(value, -MOST, MOST))) for row, value in pairs
    ]
    return _rounded(float(np.mean(errors))) if errors else None


def _shown(row: Ablation, value: float, in_points: bool) -> dict[str, Any]:
    return {
        "study": row.study,
        "base": row.base,
        "variant": row.variant,
        "published": row.delta,
        "estimated": round(value, 2) if in_points else float(np.sign(value)),
        "right": bool(value * row.delta > 0) if abs(row.delta) > CLEAR else None,
        "blind": row.blind or None,
    }


@dataclass(frozen=True)
class _Table:
    """Scored rows beside their estimates."""

    evidence: Evidence
    estimate: Estimate
    in_points: bool

    def overall(self) -> dict[str, Any]:
        """Scores over all rows, with a bootstrap over families."""
        found = self.of(np.ones(len(self.evidence), dtype=np.bool_))
        low, high = self._bootstrap()
        errors = ("mae", "mae_low", "mae_high", "bias", "rmse", "within")
        ranks = ("tau", "tau_low", "tau_high", "rho", "coverage80", "n")
        found |= {"mae_low": low[0], "mae_high": high[0], "tau_low": low[1], "tau_high": high[1]}
        shown = {name: found[name] for name in (*errors, *ranks)}
        return shown | {"coverage80_low": low[2], "coverage80_high": high[2]}

    def of(self, keep: NDArray[np.bool_]) -> dict[str, Any]:
        """Scores over the rows that `keep` holds for; `within` has each family's offset removed."""
        top1, mean = self.evidence.top1[keep], self.estimate.mean[keep]
        ranks = {"tau": _rank(kendalltau, mean, top1), "rho": _rank(spearmanr, mean, top1)}
        points: dict[str, float | None] = dict.fromkeys(("mae", "bias", "rmse", "within", "coverage80"))
        if self.in_points and keep.any():
            error, families = mean - top1, self.evidence.families[keep]
            inner = error - np.array([error[families == family].mean() for family in families])
            points |= {
                "mae": _rounded(np.abs(error).mean()),
                "bias": _rounded(error.mean()),
                "rmse": _rounded(np.sqrt(np.square(error).mean())),
                "within": _rounded(np.abs(inner).mean()),
                "coverage80": _rounded((np.abs(error) <= Z80 * self.estimate.sd[keep]).mean()),
            }
        return {"n": int(keep.sum()), **points, **ranks}

    def bands(self) -> dict[str, Any]:
        """Scores inside bands of about equal MACs, the counts beside them."""
        macs = self.evidence.values[:, NAMES.index("macs")] / 1e9
        found = {}
        for low, high in pairwise(BANDS):
            keep = (macs >= low) & (macs < high)
            row = {name: self.of(keep)[name] for name in ("n", "mae", "tau", "rho")}
            beside = counts(self.evidence.where(keep)).items()
            row["baselines"] = {name: _rank(kendalltau, x, self.evidence.top1[keep]) for name, x in beside}
            found[f"{low:g}-{high:g} GMACs"] = row
        return found

    def _bootstrap(self) -> tuple[list[float | None], list[float | None]]:
        error = np.abs(self.estimate.mean - self.evidence.top1)
        within = error <= Z80 * self.estimate.sd
        drawn = np.array(
            [[error[i].mean(), self.tau(self.estimate.mean, i), within[i].mean()] for i in self.draws()]
        )
        low, high = np.nanquantile(drawn, [0.05, 0.95], axis=0)
        shown = [self.in_points, True, self.in_points]
        return (
            [_rounded(v) if s else None for v, s in zip(low, shown, strict=True)],
            [_rounded(v) if s else None for v, s in zip(high, shown, strict=True)],
        )

    def draws(self) -> list[NDArray[np.int64]]:
        """Rows of as many families as there are, drawn with replacement, many times over."""
        return families_drawn(self.evidence.families)

    def tau(self, values: Array, rows: NDArray[np.int64]) -> float:
        """Kendall tau of `values` with top-1 over `rows`."""
        return float(kendalltau(values[rows], self.evidence.top1[rows])[0])


def families_drawn(families: NDArray[np.str_]) -> list[NDArray[np.int64]]:
    """Rows of as many families as there are, drawn with replacement, many times over."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(families == family) for family in np.unique(families)]
    picks = rng.integers(0, len(rows), (DRAWS, len(rows)))
    return [np.concatenate([rows[i] for i in pick]) for pick in picks]


def _baseline(table: _Table, values: Array) -> dict[str, float | None]:
    drawn = [table.tau(values, rows) for rows in table.draws()]
    low, high = np.nanquantile(drawn, [0.05, 0.95])
    everything = table.evidence.top1
    return {
        "tau": _rank(kendalltau, values, everything),
        "tau_low": _rounded(low),
        "tau_high": _rounded(high),
        "rho": _rank(spearmanr, values, everything),
    }


def _rank(statistic: Callable[..., Any], a: Array, b: Array) -> float | None:
    """A rank correlation; None of fewer than two rows, or where one side is all equal."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return _rounded(float(statistic(a, b)[0]))


def _rounded(value: float) -> float:
    return round(float(value), 3)


# Two-sided 80 % interval of a normal distribution, in standard deviations.
Z80 = 1.2815515655446004


@dataclass(frozen=True)
class Scores:
    """Errors in top-1 points over `n` rows; `within` is the mean absolute error, family offsets removed."""

    n: int
    mae: float
    bias: float
    rmse: float
    tau: float
    rho: float
    within: float
    coverage80: float

    def to_dict(self) -> dict[str, float | int]:
        """Rounded to what the figures can bear."""
        return {name: value if name == "n" else round(value, 3) for name, value in vars(self).items()}


class Predicts(Protocol):
    """What a fit can do."""

    def predict(self, features: Array) -> Estimate:
        """Estimates from features of network and recipe, one row each."""
        ...


def leave_families_out(
    evidence: Evidence, fit: Callable[[Evidence], Predicts], folds: Iterable[Sequence[str]]
) -> Estimate:
    """Each row estimated by a fit that saw no row of any family of its fold; nan for the rest."""
    mean, sd = np.full(len(evidence), np.nan), np.full(len(evidence), np.nan)
    for families in folds:
        out = np.isin(evidence.families, list(families))
        mean[out], sd[out] = fit(evidence.where(~out)).predict(evidence.features[out])
    return Estimate(mean, sd)


def leave_one_family_out(
    evidence: Evidence, fit: Callable[[str, Evidence], Predicts], families: Iterable[str] = FAMILIES
) -> Estimate:
    """As `leave_families_out`, one family at a time; `fit` is told the fold, ``family:NAME``."""
    mean, sd = np.full(len(evidence), np.nan), np.full(len(evidence), np.nan)
    for family in families:
        found = leave_families_out(evidence, partial(fit, f"family:{family}"), [(family,)])
        out = evidence.families == family
        mean[out], sd[out] = found.mean[out], found.sd[out]
    return Estimate(mean, sd)


def scores(top1: Array, estimate: Estimate, families: NDArray[np.str_], keep: NDArray[np.bool_]) -> Scores:
    """Scores over the rows that `keep` holds for."""
    error = estimate.mean[keep] - top1[keep]
    offsets = {family: error[families[keep] == family].mean() for family in np.unique(families[keep])}
    within = error - np.array([offsets[family] for family in families[keep]])
    return Scores(
        n=int(keep.sum()),
        mae=float(np.abs(error).mean()),
        bias=float(error.mean()),
        rmse=float(np.sqrt(np.square(error).mean())),
        tau=float(kendalltau(estimate.mean[keep], top1[keep])[0]),
        rho=float(spearmanr(estimate.mean[keep], top1[keep])[0]),
        within=float(np.abs(within).mean()),
        coverage80=float((np.abs(error) <= Z80 * estimate.sd[keep]).mean()),
    )


def baselines(evidence: Evidence, keep: NDArray[np.bool_]) -> dict[str, float]:
    """Kendall tau of counts that need no fit; activations include the attention maps."""
    columns = {name: evidence.values[keep][:, NAMES.index(name)] for name in ("params", "macs", "acts")}
    columns["log params + log acts"] = np.log(columns["params"]) + np.log(columns["acts"])
    return {
        name: round(float(kendalltau(values, evidence.top1[keep])[0]), 3) for name, values in columns.items()
    }


def report(evidence: Evidence, estimate: Estimate) -> dict[str, Any]:
    """The error report: overall, over the families of the space, per family, and the baselines.

    Rows from papers' tables help to fit but are not scored: the scored rows are timm's own results.
    """
    scored = np.isfinite(estimate.mean) & ~evidence.papers

    def of(keep: NDArray[np.bool_]) -> dict[str, float | int]:
        return scores(evidence.top1, estimate, evidence.families, keep).to_dict()

    present = [f for f in FAMILIES if (scored & (evidence.families == f)).any()]
    return {
        "overall": of(scored),
        "space_families": of(scored & np.isin(evidence.families, SPACE_FAMILIES)),
        "families": {family: of(scored & (evidence.families == family)) for family in present},
        "baselines": baselines(evidence, scored),
    }
