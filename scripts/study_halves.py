"""By how much a search overrates what it finds, as families say that it has not seen.

    python scripts/study_halves.py                       # five splits: some minutes on one core
    python scripts/study_halves.py --splits 2 --evals 2000

The families of the evidence are split in two, relatives in the same half, and a surrogate is made of each
half with everything that belongs to it: hyperparameters, folds, calibration. A search by one half's surrogate
finds a network for each budget, and the other half's surrogate, which had no part in choosing it, judges it;
then the two change places. Printed is by how much the estimate and the cross-fitted number of the first
exceed what the second says, how often that lies within the printed 80 % interval of the cross-fitted number,
and how much of the gain over the best published network within the budget is left.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from tempfile import TemporaryDirectory

import numpy as np
from fit_surrogate import families_apart, fitted, fold_without, folds_of
from numpy.typing import NDArray

from hvnas._cache import VARIABLE
from hvnas.accuracy import Surrogate, load_estimator
from hvnas.accuracy.evaluate import Z80
from hvnas.accuracy.surrogate.evidence import Evidence
from hvnas.search import search

SPACE, DEVICE = "hybrid-mobile", "iphone12"
BUDGETS = (1.0, 2.0, 3.0)


@dataclass(frozen=True)
class Case:
    """One network that was found, in points of top-1: by the half that chose it, and by the other one.

    `published` is the best published network within the budget, by each of them.
    """

    budget_ms: float
    estimate: float
    cross_fitted: float
    sd: float
    judged: float
    published: float
    published_cross_fitted: float
    published_judged: float

    def __str__(self) -> str:
        return (
            f"{self.budget_ms:g} ms: {self.estimate:.2f} estimated, {self.cross_fitted:.2f} ± {self.sd:.2f} "
            f"cross-fitted, {self.judged:.2f} by the other half; best published {self.published:.2f}, "
            f"{self.published_cross_fitted:.2f}, {self.published_judged:.2f}"
        )

    @property
    def within(self) -> bool:
        """Whether the cross-fitted number's 80 % interval holds what the other half says."""
        return abs(self.cross_fitted - self.judged) <= Z80 * self.sd


def halves(evidence: Evidence, *, seed: int) -> tuple[Evidence, Evidence]:
    """The evidence of two random sets of families of about as many rows each."""
    first = families_apart(evidence, 2, rng=np.random.default_rng(seed))[0]
    inside = np.isin(evidence.families, list(first))
    return evidence.where(inside), evidence.where(~inside)


def surrogate_of(evidence: Evidence, sd_scale: float, iterations: int) -> Surrogate:
    """A surrogate whose every choice is made on `evidence`, but for the level of its intervals."""
    folds = tuple(fold_without(evidence, part, iterations) for part in folds_of(evidence))
    return Surrogate(evidence, fitted(evidence, iterations), sd_scale, {}, folds)


def cases(chooser: Surrogate, judge: Surrogate, evals: int) -> Iterator[Case]:
    """What searches by `chooser` find within each budget."""
    for budget_ms in BUDGETS:
        result = search(SPACE, DEVICE, budget_ms=budget_ms, estimator=chooser, evals=evals)
        best, rival = result.best, result.rivals[-1].found
        judged, published = judge.estimate([best.arch, rival.arch]).mean.tolist()
        yield Case(
            budget_ms=budget_ms,
            estimate=best.top1,
            cross_fitted=best.cross_fitted,
            sd=best.cross_fitted_sd,
            judged=judged,
            published=rival.top1,
            published_cross_fitted=rival.cross_fitted,
            published_judged=published,
        )


def lines(found: list[Case]) -> list[str]:
    """What the cases come to."""
    at = {field.name: _column(found, field.name) for field in fields(Case)}
    over, crossed = at["estimate"] - at["judged"], at["cross_fitted"] - at["judged"]
    left = at["judged"] - at["published_judged"]
    gains = at["estimate"] - at["published"], at["cross_fitted"] - at["published_cross_fitted"]
    within = _column(found, "within")
    return [
        f"{len(found)} networks found, {', '.join(f'{ms:g}' for ms in BUDGETS)} ms",
        f"  estimate less the other half's:      {over.mean():+.2f} (rms {_rms(over):.2f})",
        f"  cross-fitted less the other half's:  {crossed.mean():+.2f} (rms {_rms(crossed):.2f})",
        f"  within the 80 % interval of the cross-fitted number: {100 * within.mean():.0f} %",
        f"  gain over the best published network: {gains[0].mean():.2f} by the estimate, "
        f"{gains[1].mean():.2f} cross-fitted, {left.mean():.2f} by the other half",
    ]


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _column(found: list[Case], name: str) -> NDArray[np.float64]:
    return np.array([getattr(case, name) for case in found], dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first split's seed")
    parser.add_argument("--evals", type=int, default=10_000)
    parser.add_argument("--iterations", type=int, default=12, help="of the search for hyperparameters")
    options = parser.parse_args()
    with TemporaryDirectory() as cache:
        # The fits of halves are of no use to anybody else.
        os.environ[VARIABLE] = cache
        print("\n".join(lines(_cases(options))))


def _cases(options: argparse.Namespace) -> list[Case]:
    whole = load_estimator("surrogate")
    assert isinstance(whole, Surrogate)
    found: list[Case] = []
    for seed in range(options.first, options.first + options.splits):
        one, other = (
            surrogate_of(half, whole.sd_scale, options.iterations)
            for half in halves(whole.evidence, seed=seed)
        )
        for chooser, judge in ((one, other), (other, one)):
            for case in cases(chooser, judge, options.evals):
                found.append(case)
                print(f"split {seed}, {case}", flush=True)
    return found


if __name__ == "__main__":
    main()
