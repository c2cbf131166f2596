"""How far does short training repeat, and what does successive halving save?

Trains small random networks for a few epochs under several seeds and prints: the standard deviation over
seeds beside what the size of the validation split explains, Kendall's tau between seeds, and, with halving,
the epochs trained and whether the best network is still found.

    python scripts/study_short_training.py [--networks 8] [--seeds 3] [--epochs 3] [--data digits]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau

from hvnas.accuracy.trained.short_training import ShortTraining, ShortTrainingEstimator
from hvnas.arch import Arch
from hvnas.space import load_space


def networks(count: int) -> list[Arch]:
    """Random networks of the mobile space, an eighth as wide, that fit 32 px."""
    from hvnas.train.data import load_data
    from hvnas.train.fitting import fit_arch

    space = load_space("hybrid-mobile")
    data = load_data("digits")
    found: list[Arch] = []
    rng = np.random.default_rng(0)
    while len(found) < count:
        arch = space.decode(space.sample(1, rng=rng, macs=(0.1e9, 5e9))[0]).shrunk()
        try:
            found.append(fit_arch(arch, data))
        except ValueError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--cache", default=None, help="folder of results; the user's cache unless given")
    parsed = parser.parse_args()
    options = ShortTraining(data=parsed.data, epochs=parsed.epochs, cache=parsed.cache)
    archs = networks(parsed.networks)
    estimators = [ShortTrainingEstimator(replace(options, seed=seed)) for seed in range(parsed.seeds)]
    top1 = np.array([[curve.top1[-1] for curve in estimator.curves(archs)] for estimator in estimators])
    print(f"{estimators[0].data}, {parsed.epochs} epochs, {len(archs)} networks, {parsed.seeds} seeds")
    print_repeatability(top1, len(estimators[0].data.val))
    for halving in ("successive", "hyperband"):
        chosen = ShortTrainingEstimator(replace(options, halving=halving))
        curves = chosen.curves(archs)
        trained = sum(len(curve.top1) for curve in curves)
        best = int(np.argmax(chosen.estimate(archs).mean))
        place = int((top1[0] > top1[0][best]).sum()) + 1
        print(f"{halving}: {trained} of {len(archs) * parsed.epochs} epochs; its best is number {place}")


def print_repeatability(top1: np.ndarray, count: int) -> None:
    """`top1` is ``[seeds, networks]`` in points."""
    share = top1 / 100.0
    sampling = 1e4 * (share * (1 - share)).mean() / count
    spread = top1.var(axis=0, ddof=1).mean()
    taus = [kendalltau(a, b).statistic for a, b in combinations(top1, 2)]
    print(f"top-1 {top1.min():.1f} to {top1.max():.1f}, sd over networks {top1.mean(axis=0).std(ddof=1):.2f}")
    print(f"sd over seeds {np.sqrt(spread):.2f} points; of the images' number {np.sqrt(sampling):.2f}")
    print(f"Kendall's tau between seeds {np.mean(taus):.2f} (mean of {len(taus)} pairs)")


if __name__ == "__main__":
    main()
