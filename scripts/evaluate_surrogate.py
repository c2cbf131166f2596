"""Print how well the surrogate places families that it has not seen.

    python scripts/evaluate_surrogate.py             # fitted again without each family; some seconds
    python scripts/evaluate_surrogate.py --recorded  # the report that ships, from fit_surrogate.py
    python scripts/evaluate_surrogate.py --all       # every family; only the fifteen are nested

For the fifteen families hyperparameters too were found without the family left out. Below the table stands
how often the 80 % interval held what was published, over families drawn with replacement, and by how much
whole families are off, beside what the regression states of that. With bands of equal MACs and ablations:
hvnas accuracy evaluate.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from hvnas.accuracy import Surrogate, load_estimator
from hvnas.accuracy.estimator import Estimate
from hvnas.accuracy.evaluate import FAMILIES, Z80, families_drawn, leave_one_family_out, report
from hvnas.accuracy.surrogate.evidence import Evidence
from hvnas.accuracy.surrogate.fit import EFFECTS, Fit

FIELDS = ("n", "mae", "bias", "rmse", "tau", "rho", "within", "coverage80")


def line(name: str, row: dict[str, Any]) -> str:
    return f"{name:22s}" + "".join(f"{row[field]:>11}" for field in FIELDS)


def table(error: dict[str, Any]) -> str:
    """The report as text; errors in top-1 points."""
    lines = [f"{'left out':22s}" + "".join(f"{field:>11}" for field in FIELDS)]
    lines += [line(name, row) for name, row in error["families"].items()]
    lines += [line("families of the space", error["space_families"]), line("all of these", error["overall"])]
    lines += ["", "Kendall tau of counts, on the same rows:"]
    lines += [f"  {name:22s}{tau:>8}" for name, tau in error["baselines"].items()]
    return "\n".join(lines)


class Recorded:
    """The surrogate's fits without a family, and the fits themselves, by family."""

    def __init__(self, surrogate: Surrogate) -> None:
        self.surrogate, self.fits = surrogate, dict[str, Fit]()

    def __call__(self, fold: str, rest: Evidence) -> Fit:
        found = self.surrogate.without(fold, rest)
        self.fits[fold.removeprefix("family:")] = found
        return found


def promises(evidence: Evidence, estimate: Estimate, fits: Mapping[str, Fit]) -> list[str]:
    """How far the intervals kept what they say, of the rows that `estimate` is of."""
    scored = np.isfinite(estimate.mean) & ~evidence.papers & (evidence.ablations == "")
    error, families = (estimate.mean - evidence.top1)[scored], evidence.families[scored]
    within = np.abs(error) <= Z80 * estimate.sd[scored]
    low, high = np.quantile([within[rows].mean() for rows in families_drawn(families)], [0.05, 0.95])
    of_family = {family: scored & (evidence.families == family) for family in np.unique(families)}
    offsets = [(estimate.mean - evidence.top1)[rows].mean() for rows in of_family.values()]
    stated = [offset_variance(fits[name], evidence.features[rows]) for name, rows in of_family.items()]
    return [
        f"80 % intervals cover {100 * within.mean():.0f} % ({100 * low:.0f} to {100 * high:.0f} %, 5-95 % "
        "over families drawn)",
        f"mean errors of families: rms {np.sqrt(np.square(offsets).mean()):.2f} points, stated "
        f"{np.sqrt(np.mean(stated)):.2f} (in the chances of being better) and "
        f"{np.sqrt(np.mean(stated)) * fits[families[0]].sd_scale:.2f} (in intervals)",
    ]


def offset_variance(fit: Fit, features: np.ndarray) -> float:
    """What `fit` states for the mean error of a family with these features, in points squared."""
    covariance = fit.covariance_across_families(features)
    at = [EFFECTS.index("family"), EFFECTS.index("study")]
    shared = np.mean([member.posterior.kernel.variances[at].sum() for member in fit.members])
    slope = (100.0 - fit.mean(features)) * fit.scaling.target_scale
    # Networks of one family have its offset in common, which strangers do not.
    apart = ~np.eye(len(features), dtype=np.bool_)
    return float((covariance + apart * shared * np.outer(slope, slope)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recorded", action="store_true", help="print the report that ships")
    parser.add_argument("--all", action="store_true", help="leave out every family, not only the fifteen")
    options = parser.parse_args()
    surrogate = load_estimator("surrogate")
    assert isinstance(surrogate, Surrogate)
    if options.recorded:
        print(table(surrogate.error))
        return
    evidence = surrogate.evidence
    chosen = np.unique(evidence.families).tolist() if options.all else FAMILIES
    fit = Recorded(surrogate)
    estimate = leave_one_family_out(evidence, fit, chosen)
    print(table(report(evidence, estimate)))
    print("", *promises(evidence, estimate, fit.fits), sep="\n")


if __name__ == "__main__":
    main()
