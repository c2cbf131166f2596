"""How much the best of several networks is overrated, and what cross-fitted estimates say of it.

    python scripts/study_selection.py            # some minutes on one core

Every network of the families that are scored is estimated with its family left out, and by fits that each
lack a fold of families too. Of K published networks of about equal MACs the one with the highest estimate is
picked, many times over; printed is by how much its estimate, the lowest of the folds' and their mean exceed
what was published, and how the two differ from the estimate over all networks, picked or not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvnas.accuracy import Surrogate, load_estimator
from hvnas.accuracy.evaluate import FAMILIES
from hvnas.accuracy.surrogate.features import NAMES
from hvnas.accuracy.surrogate.fit import Fit

Array = NDArray[np.float64]
PICKED_FROM = (5, 10, 20, 40)
NEAREST, DRAWS = 40, 4000


def estimates(surrogate: Surrogate) -> tuple[NDArray[np.int64], Array, Array]:
    """Rows of the evidence, their estimates without their family, and those without each fold as well."""
    evidence = surrogate.evidence
    own = (evidence.ablations == "") & ~evidence.papers
    rows, alone, folds = [], [], []
    for family in FAMILIES:
        of_family = evidence.families == family
        judged = own & of_family
        features = evidence.features[judged]
        rows.append(np.flatnonzero(judged))
        alone.append(surrogate.without(f"family:{family}", evidence.where(~of_family)).predict(features).mean)
        parts = [
            Fit.of(fold.rest(evidence.where(~of_family)), fold.thetas).predict(features).mean
            for fold in surrogate.folds
        ]
        folds.append(np.stack(parts, axis=1))
    return np.concatenate(rows), np.concatenate(alone), np.vstack(folds)


def main() -> None:
    surrogate = load_estimator("surrogate")
    assert isinstance(surrogate, Surrogate)
    rows, alone, folds = estimates(surrogate)
    top1 = surrogate.evidence.top1[rows]
    log_macs = np.log(surrogate.evidence.values[rows, NAMES.index("macs")])
    numbers = {"estimate": alone, "lowest": folds.min(axis=1), "mean": folds.mean(axis=1)}
    rng = np.random.default_rng(0)
    for count in PICKED_FROM:
        errors = []
        for _ in range(DRAWS):
            near = np.argsort(np.abs(log_macs - log_macs[rng.integers(len(rows))]))[:NEAREST]
            among = rng.choice(near, count, replace=False)
            best = among[np.argmax(alone[among])]
            errors.append([values[best] - top1[best] for values in numbers.values()])
        bias = dict(zip(numbers, np.mean(errors, axis=0), strict=True))
        print(f"best of {count:2d}: " + ", ".join(f"{name} {value:+.2f}" for name, value in bias.items()))
    for name in ("lowest", "mean"):
        print(f"{name} against the estimate, all networks: {(numbers[name] - alone).mean():+.2f}")


if __name__ == "__main__":
    main()
