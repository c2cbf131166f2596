"""How well an estimate ranks and places networks of families that it has never seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from hvnas.accuracy.columns import NAMES
from hvnas.accuracy.estimator import Estimate
from hvnas.accuracy.evidence import Evidence
from hvnas.accuracy.features import Array

# Hybrid, transformer, pooling and mobile families: what the search spaces are made of.
FAMILIES: tuple[str, ...] = (
    *("efficientformer", "efficientformerv2", "coatnet", "poolformer", "poolformerv2"),
    *("mobilevit", "mobilevitv2", "efficientvit_mit", "vit", "deit", "levit", "repvit", "fastvit"),
    *("mobilenetv2", "maxvit"),
)
SPACE_FAMILIES: tuple[str, ...] = (
    *("efficientformer", "efficientformerv2", "coatnet", "poolformer", "mobilevit", "efficientvit_mit"),
)

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
