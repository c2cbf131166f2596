"""By how much the best of several networks is overrated, and what the cross-fitted number says of it.

    python scripts/study_selection.py            # half a minute on one core

Every network of the families that are scored is estimated by a surrogate that is made without its family:
fit, folds and calibration. Of K published networks of about equal MACs the one with the highest estimate is
picked, many times over; printed is by how much its estimate, the lowest of the folds', their mean and the
cross-fitted number exceed what was published, and by how much these differ from the estimate over all
networks, picked or not.

Then, for pairs of published networks of about equal MACs that were trained alike, the family of one of them
unknown to the fit: how often it was the better one where that chance was stated, and how often the difference
lay within its 80 % interval.

Last, the same selection from families that are not among the scored ones, each judged by fits without its
fold and calibrated on the other folds. The form of the calibration is the one whose largest error is smallest
there, of those that move all networks by at most 0.1 points.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hvnas._cache import OFF, VARIABLE
from hvnas.accuracy import Surrogate, load_estimator
from hvnas.accuracy.estimator import chances
from hvnas.accuracy.evaluate import FAMILIES, Z80
from hvnas.accuracy.surrogate.evidence import RECIPE_FEATURES, Evidence
from hvnas.accuracy.surrogate.fit import ALL_FEATURES, LOG_MACS, Calibration, Fit, transform, untransform

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
PICKED_FROM = (5, 10, 20, 40)
NEAREST, DRAWS = 40, 4000
TRAINED_ALIKE = slice(-len(RECIPE_FEATURES), None)
PARTNERS = 3
BANDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 1.0)
# What the calibration may take into account beside the estimate, and how much a family of n networks weighs
# (n to the power); in the scale of the regression or in points.
FORMS: dict[str, tuple[str, ...]] = {
    "estimate": (),
    "MACs": ("log_macs",),
    "params": ("log_params",),
    "MACs and params": ("log_macs", "log_params"),
    "all sizes": ("log_params", "log_macs", "log_acts", "log_resolution", "log_depth"),
}
POWERS = (1.0, 0.5, 0.0)


def numbers_of(surrogate: Surrogate) -> tuple[Rows, dict[str, Array]]:
    """Rows of the evidence, and for each what a surrogate without its family says of it."""
    evidence = surrogate.evidence
    own = (evidence.ablations == "") & ~evidence.papers
    rows: list[Rows] = []
    found: dict[str, list[Array]] = {"estimate": [], "lowest": [], "mean": [], "cross-fitted": []}
    for family in FAMILIES:
        judged = own & (evidence.families == family)
        features = evidence.features[judged]
        rest = surrogate.of_rest([family])
        by_fold = np.stack([fit.mean(features) for fit in rest.crossed], axis=1)
        rows.append(np.flatnonzero(judged))
        found["estimate"].append(rest.fit.mean(features))
        found["lowest"].append(by_fold.min(axis=1))
        found["mean"].append(by_fold.mean(axis=1))
        found["cross-fitted"].append(rest.cross_fit(features).mean)
    return np.concatenate(rows), {name: np.concatenate(parts) for name, parts in found.items()}


def biases(evidence: Evidence, rows: Rows, numbers: dict[str, Array]) -> dict[int, dict[str, float]]:
    """By how much each number exceeds the result, of the network that is picked from K by its estimate.

    `numbers` are over `rows`, and "estimate" is among them.
    """
    top1, log_macs = evidence.top1[rows], evidence.features[rows, LOG_MACS]
    rng = np.random.default_rng(0)
    found = {}
    for count in PICKED_FROM:
        errors = []
        for _ in range(DRAWS):
            near = np.argsort(np.abs(log_macs - log_macs[rng.integers(len(rows))]))[:NEAREST]
            among = rng.choice(near, count, replace=False)
            best = among[np.argmax(numbers["estimate"][among])]
            errors.append([values[best] - top1[best] for values in numbers.values()])
        found[count] = dict(zip(numbers, np.mean(errors, axis=0).tolist(), strict=True))
    return found


def print_picked(surrogate: Surrogate) -> None:
    rows, numbers = numbers_of(surrogate)
    print(f"{len(rows)} networks of {len(FAMILIES)} families, each left out")
    for count, found in biases(surrogate.evidence, rows, numbers).items():
        print(f"best of {count:2d}: " + ", ".join(f"{name} {value:+.2f}" for name, value in found.items()))
    for name, values in numbers.items():
        if name != "estimate":
            shift = (values - numbers["estimate"]).mean()
            print(f"{name} against the estimate, all networks, picked or not: {shift:+.2f}")


def fold_places(surrogate: Surrogate) -> NDArray[np.int64]:
    """The fold that each row of the evidence is in."""
    families = [list(fold.families) for fold in surrogate.folds]
    return np.argmax([np.isin(surrogate.evidence.families, names) for names in families], axis=0)


def without_own_fold(surrogate: Surrogate) -> Array:
    """Each row's estimate by the fit that lacks its fold. Shape [n]."""
    features = surrogate.evidence.features
    by_fold = np.stack([fit.mean(features) for fit in surrogate.crossed], axis=1)
    return by_fold[np.arange(len(features)), fold_places(surrogate)]


def print_forms(surrogate: Surrogate) -> None:
    """Forms of the calibration on families that are not scored, each calibrated on the other folds."""
    evidence, places = surrogate.evidence, fold_places(surrogate)
    estimate = without_own_fold(surrogate)
    used = (evidence.ablations == "") & ~np.isin(evidence.families, FAMILIES)
    rows = np.flatnonzero(used & ~evidence.papers)
    numbers = {"estimate": estimate[rows]}
    for form, names in FORMS.items():
        sizes = evidence.features[:, [ALL_FEATURES.index(name) for name in names]]
        for power in POWERS:
            for scale in ("ln", "points"):
                to, back = (transform, untransform) if scale == "ln" else (np.asarray, np.asarray)
                terms = np.column_stack([np.ones(len(evidence)), to(estimate), sizes])
                fitted = _calibrated(terms, to(evidence.top1), evidence.families, used, places, power)
                numbers[f"{form}, n^{power:g}, {scale}"] = back(fitted[rows])
    found = biases(evidence, rows, numbers)
    print(
        f"{len(rows)} networks of families that are not scored; best of " + ", ".join(map(str, PICKED_FROM))
    )
    for name, values in numbers.items():
        shift = (values - numbers["estimate"]).mean()
        told = " ".join(f"{found[count][name]:+.2f}" for count in PICKED_FROM)
        print(f"  {name:32s} {told}   all networks {shift:+.2f}")


def _calibrated(
    terms: Array, target: Array, families: NDArray[np.str_], used: Array, places: Rows, power: float
) -> Array:
    """What least squares on the other folds make of each row. Shape [n]."""
    found = np.full(len(target), np.nan)
    for place in range(int(places.max()) + 1):
        rest = used & (places != place)
        _, family, counts = np.unique(families[rest], return_inverse=True, return_counts=True)
        root = counts[family] ** ((power - 1.0) / 2.0)
        weights = np.linalg.lstsq(terms[rest] * root[:, None], target[rest] * root, rcond=None)[0]
        here = places == place
        found[here] = terms[here] @ weights
    return found


def pairs(surrogate: Surrogate) -> Iterator[tuple[float, float, float]]:
    """For each pair of networks: the chance of the first being better, how it was, and the error in sds."""
    evidence, places = surrogate.evidence, fold_places(surrogate)
    estimate = without_own_fold(surrogate)
    own = (evidence.ablations == "") & surrogate.fit.guard.inside(evidence.features)
    log_macs, recipes = evidence.features[:, LOG_MACS], evidence.features[:, TRAINED_ALIKE]
    for place, fold in enumerate(surrogate.folds):
        fit = Fit.of(fold.rest(evidence), fold.thetas)
        rest = own & (places != place)
        calibration = Calibration.of(
            estimate[rest], log_macs[rest], evidence.top1[rest], evidence.families[rest]
        )
        for row in np.flatnonzero(own & (places == place)):
            alike = np.flatnonzero(rest & (recipes == recipes[row]).all(axis=1))
            near = alike[np.argsort(np.abs(log_macs[alike] - log_macs[row]))[:PARTNERS]]
            both = np.concatenate([[row], near])
            mean = calibration(fit.mean(evidence.features[both]), log_macs[both])
            covariance = fit.covariance_across_families(evidence.features[both])
            spread = np.sqrt(covariance[0, 0] + np.diag(covariance)[1:] - 2 * covariance[0, 1:])
            apart = evidence.top1[row] - evidence.top1[near]
            errors = (apart - (mean[0] - mean[1:])) / spread
            yield from zip(chances(mean, covariance).tolist(), apart.tolist(), errors.tolist(), strict=True)


def print_pairs(surrogate: Surrogate) -> None:
    stated, apart, errors = np.array(list(pairs(surrogate))).T
    within = (np.abs(errors) <= Z80).mean()
    print(f"{len(stated)} pairs, one family unknown: {100 * within:.0f} % within the 80 % interval")
    right = np.where(stated >= 0.5, apart > 0, apart < 0)
    stated = np.maximum(stated, 1.0 - stated)
    for low, high in pairwise(BANDS):
        band = (stated >= low) & (stated <= high)
        print(
            f"  stated {low:g} to {high:g}: {stated[band].mean():.2f} on average, "
            f"{right[band].mean():.2f} were so, of {band.sum()}"
        )


def main() -> None:
    # The fits of studies are of no use to anybody else.
    os.environ[VARIABLE] = OFF
    surrogate = load_estimator("surrogate")
    assert isinstance(surrogate, Surrogate)
    print_picked(surrogate)
    print_pairs(surrogate)
    print_forms(surrogate)


if __name__ == "__main__":
    main()
