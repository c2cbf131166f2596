"""Find the surrogate's hyperparameters and measure its error with each family left out.

    python scripts/fit_surrogate.py            # a quarter of an hour on one core; --jobs shares it

Writes hvnas/accuracy/data/surrogate.json: hyperparameters of all of the evidence and of the evidence without
each fold of families and without whatever the reports leave out, the regression's mean without each fold, and
the error report. The reports are nested: what is left out had no part in the hyperparameters either.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from hvnas._files import write_atomic
from hvnas.accuracy.evaluate import (
    FAMILIES,
    Z80,
    leave_one_family_out,
    report,
)
from hvnas.accuracy.surrogate.ablations import load_ablations
from hvnas.accuracy.surrogate.evidence import DATA, Evidence, load_evidence, study_families
from hvnas.accuracy.surrogate.fit import VIEWS, Fit, Scaling, View, group_codes, standardised
from hvnas.accuracy.surrogate.gp import Kernel, initial, maximise
from hvnas.accuracy.surrogate.surrogate import (
    Fold,
    LeftOut,
    Surrogate,
    Thetas,
    read_fold,
    write_fold,
    write_left_out,
    write_thetas,
)

# The search for the likeliest hyperparameters stops early, which keeps them near their priors: with a
# hundred of them and seventy families, the likeliest ones are fitted to those families. The mean of its last
# steps owes less to chance than the step at which it stops.
ITERATIONS, AVERAGED = 12, 8
FOLDS = 5


def fitted(evidence: Evidence, iterations: int = ITERATIONS) -> Thetas:
    """Hyperparameters on `evidence`, by view, searched from the means of their priors.

    What theory adds (`hvnas.accuracy.surrogate.ablations.load_theory`) has no part in them: it is no result.
    """
    results = evidence.where(~np.char.startswith(evidence.ablations, "theory "))
    return {view.name: _fitted(view, results, iterations) for view in VIEWS}


def _fitted(view: View, evidence: Evidence, iterations: int) -> np.ndarray:
    x, y = standardised(view, evidence, Scaling.of(evidence))
    start = initial(len(view.features), view.groups, effects=3, held=1)
    kernel = Kernel(start, len(view.features), view.groups)
    return maximise(
        kernel, x, y, group_codes(evidence), iterations=iterations, averaged=AVERAGED, held=1
    ).theta


def folds_of(evidence: Evidence) -> tuple[frozenset[str], ...]:
    """The families in FOLDS parts; see `families_apart`."""
    return families_apart(evidence, FOLDS)


def families_apart(
    evidence: Evidence, count: int, *, rng: np.random.Generator | None = None
) -> tuple[frozenset[str], ...]:
    """The families in `count` parts of about as many rows, relatives (a second version) in the same one.

    The largest come first, or, with `rng`, in a random order.
    """
    kin: dict[str, set[str]] = {}
    for family in np.unique(evidence.families):
        kin.setdefault(family.split("_")[0].removesuffix("v2"), set()).add(str(family))
    rows = {name: int(np.isin(evidence.families, list(found)).sum()) for name, found in kin.items()}
    parts: list[set[str]] = [set() for _ in range(count)]
    filled = [0] * count
    order = sorted(rows, key=lambda name: (-rows[name], name))
    for name in order if rng is None else rng.permutation(order).tolist():
        least = filled.index(min(filled))
        parts[least] |= kin[name]
        filled[least] += rows[name]
    return tuple(map(frozenset, parts))


def fold_without(evidence: Evidence, families: frozenset[str], iterations: int = ITERATIONS) -> Fold:
    """The fold of `families`, its hyperparameters found without them."""
    rest = evidence.where(~np.isin(evidence.families, list(families)))
    return Fold.of(families, rest, fitted(rest, iterations))


def reported(evidence: Evidence) -> tuple[frozenset[str], ...]:
    """What reports leave out together: each of the scored families, and those of each study of ablations."""
    studies = dict.fromkeys(row.study for row in load_ablations())
    every = [frozenset((family,)) for family in FAMILIES]
    every += [study_families(evidence, study) for study in studies]
    return tuple(dict.fromkeys(every))


def left_out(evidence: Evidence, families: frozenset[str]) -> LeftOut:
    """Hyperparameters on `evidence` without `families`."""
    rest = evidence.where(~np.isin(evidence.families, list(families)))
    return LeftOut(families, fitted(rest))


def calibrated(evidence: Evidence, folds: Sequence[Fold]) -> float:
    """The factor that makes 80 % intervals cover 80 % of networks whose family was left out.

    Found on the families that the report does not score, a fold left out at a time, so that the coverage
    that is reported stays a test.
    """
    ratios = []
    for fold in folds:
        judged = np.isin(evidence.families, list(fold.families - {*FAMILIES})) & (evidence.ablations == "")
        estimate = Fit.of(fold.rest(evidence), fold.thetas).predict(evidence.features[judged])
        ratios.append(np.abs(estimate.mean - evidence.top1[judged]) / estimate.sd)
    return float(np.quantile(np.concatenate(ratios), 0.8) / Z80)


def assembled(
    evidence: Evidence, thetas: Thetas, folds: Sequence[Fold], parts: Sequence[LeftOut]
) -> dict[str, Any]:
    """What surrogate.json holds, with the error report."""
    # Rounded as they are read back, so that the report is that of the file.
    folds = [read_fold(write_fold(fold)) for fold in folds]
    sd_scale = round(calibrated(evidence, folds), 3)
    print(f"sd scaled by {sd_scale}", flush=True)
    surrogate = Surrogate(evidence, thetas, sd_scale, {}, tuple(folds), tuple(parts))
    estimate = leave_one_family_out(evidence, surrogate.without, FAMILIES)
    return {
        "schema": "hvnas.surrogate/3",
        "theta": write_thetas(thetas),
        "left_out": [write_left_out(part) for part in parts],
        "folds": [write_fold(fold) for fold in folds],
        "sd_scale": sd_scale,
        "error": report(evidence, estimate),
    }


def text(stored: dict[str, Any]) -> str:
    """As JSON, each fold and each part on one line."""
    lists = ("left_out", "folds")
    rest = {key: value for key, value in stored.items() if key not in lists}
    found = json.dumps(rest, indent=1)[:-2]
    for name in lists:
        found += f',\n "{name}": [\n' + ",\n".join(f"  {json.dumps(part)}" for part in stored[name]) + "\n ]"
    return found + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=DATA / "surrogate.json")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the search")
    options = parser.parse_args()
    started = time.perf_counter()
    evidence = load_evidence()
    families, parts = folds_of(evidence), reported(evidence)
    with ProcessPoolExecutor(options.jobs) as pool:
        everything = pool.submit(fitted, evidence)
        folds = list(pool.map(fold_without, [evidence] * len(families), families))
        without = list(pool.map(left_out, [evidence] * len(parts), parts))
        thetas = everything.result()
    print(
        f"hyperparameters on {len(evidence)} results, without each of {FOLDS} folds and without each of "
        f"{len(parts)} parts: {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    stored = assembled(evidence, thetas, folds, without)
    write_atomic(options.out, text(stored))
    error = stored["error"]
    print(json.dumps({key: error[key] for key in ("overall", "space_families", "baselines")}, indent=1))
    print(f"written to {options.out}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
