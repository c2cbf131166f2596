"""How many networks must be estimated before a good one is found? Each strategy against random ones.

The estimator is treated as one that takes seconds a network, whatever it is: strategies see one network at a
time and no columns. Prints the best top-1 minus one sd (or score) within the budget after so many
evaluations, median and quartiles over seeds, and the evaluations that each strategy needs to reach what
`random` and `within` reach with all of theirs. `within` draws random networks that are within the budget and
the device's gate, which is known without an estimate; it is the fairer comparison where the budget is tight.

    python scripts/study_predictor.py --out study [--estimator surrogate] [--space hybrid-mobile]
        [--device iphone12] [--budget 2.0] [--evals 100] [--seeds 5] [--strategies predictor,tpe,...]
    python scripts/study_predictor.py --out study --space small.yaml --estimator train:data=digits,epochs=2
        [--budget 1000] [--outside allow] [--evals 30] [--seeds 3]
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvnas.accuracy import AccuracyEstimator, Estimate
from hvnas.arch import Arch
from hvnas.search import Checkpoint, Problem, Strategy, find_reach, make_problem
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.predictor import Predictor
from hvnas.search.strategies.registry import strategy_entry
from hvnas.testing.strategies import WatchedProblem

WITHIN = "within"
STRATEGIES = f"predictor,tpe,evolution,{WITHIN},random"
SHOWN = (5, 10, 20, 30, 40, 60, 80, 100, 150, 200, 300, 400)

Curves = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Whole(AccuracyEstimator):
    """`inner` as an estimator that takes whole networks only."""

    inner: AccuracyEstimator

    @property
    def unit(self) -> str:
        """That of `inner`."""
        return self.inner.unit

    def estimate(self, archs: Sequence[Arch], *, recipe: str, scenario: str) -> Estimate:
        """What `inner` says."""
        return self.inner.estimate(archs, recipe=recipe, scenario=scenario)


def make_strategy(name: str, evals: int) -> Strategy:
    """A registered strategy, or networks within the budget: the predictor's first ones and no others."""
    return Predictor(startup=evals) if name == WITHIN else strategy_entry(name).make()


def best_so_far(problem: Problem, name: str, *, evals: int, seed: int) -> NDArray[np.float64]:
    """The best objective within the budget after each evaluation. Shape [evals]."""
    watched = WatchedProblem.of(problem, estimator=Whole(problem.estimator))
    make_strategy(name, evals).run(
        watched, evals=evals, seed=seed, progress=Silent(), checkpoint=Checkpoint()
    )
    found = watched.found
    best = np.maximum.accumulate(np.where(found.feasible, found.objective, -np.inf))[:evals]
    return np.concatenate([best, np.full(evals - len(best), best[-1])])


def needed(curves: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Evaluations after which each curve [seeds, evals] reaches `level`; inf where it never does."""
    reached = curves >= level
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, np.inf)


def quartiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """25, 50 and 75 % of the values of axis 0, each a value that is there. Shape [3, ...]."""
    found: NDArray[np.float64] = np.quantile(values, [0.25, 0.5, 0.75], axis=0, method="nearest")
    return found


def print_curves(curves: Curves) -> None:
    """Median and quartiles of the best after so many evaluations."""
    evals = next(iter(curves.values())).shape[1]
    shown = [n for n in SHOWN if n <= evals]
    print(f"{'best after':>12} " + " ".join(f"{n:>20}" for n in shown))
    for name, values in curves.items():
        low, middle, high = quartiles(values)[:, [n - 1 for n in shown]]
        cells = [f"{m:6.2f} ({a:.2f}-{b:.2f})" for m, a, b in zip(middle, low, high, strict=True)]
        print(f"{name:>12} " + " ".join(f"{cell:>20}" for cell in cells))


def print_needed(curves: Curves) -> None:
    """Evaluations to reach the median of what the random ones reach with all of theirs."""
    for base in (WITHIN, "random"):
        if base not in curves:
            continue
        evals = curves[base].shape[1]
        level = float(quartiles(curves[base][:, -1])[1])
        if not np.isfinite(level):
            print(f"{base}: nothing within the budget among {evals} networks (median)")
            continue
        print(f"evaluations to reach {level:.2f}, the median of {base} with {evals}:")
        for name, values in curves.items():
            low, middle, high = quartiles(needed(values, level))
            saved = f", {evals / middle:.1f} times fewer" if np.isfinite(middle) else " (never)"
            print(f"{name:>12} {middle:6.0f} ({low:.0f}-{high:.0f}){saved}")


def write_csv(path: Path, curves: Curves) -> None:
    """One line per strategy, seed and evaluation."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["strategy", "seed", "evaluations", "best"])
        for name, values in curves.items():
            for seed, curve in enumerate(values):
                writer.writerows([name, seed, n + 1, f"{best:.6f}"] for n, best in enumerate(curve))


def plot(path: Path, curves: Curves, *, title: str, unit: str) -> None:
    """Medians as lines, quartiles as bands."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name, values in curves.items():
        low, middle, high = (np.where(np.isfinite(q), q, np.nan) for q in quartiles(values))
        steps = np.arange(1, values.shape[1] + 1)
        (line,) = axes.plot(steps, middle, label=name)
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    ends = [values[np.isfinite(values)] for values in curves.values() if np.isfinite(values).any()]
    if ends:
        everything = np.concatenate(ends)
        axes.set_ylim(np.quantile(everything, 0.05), everything.max() + 0.02 * np.ptp(everything) + 1e-9)
    axes.set(xlabel="networks evaluated", ylabel=f"best within the budget ({unit})", title=title)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--space", default="hybrid-mobile")
    parser.add_argument("--device", default="iphone12")
    parser.add_argument("--budget", type=float, default=2.0, help="milliseconds")
    parser.add_argument("--margin", type=float, default=0.0)
    parser.add_argument("--outside", choices=("forbid", "allow"), default="forbid")
    parser.add_argument("--estimator", default="surrogate")
    parser.add_argument("--recipe", default="modern300")
    parser.add_argument("--strategies", default=STRATEGIES)
    parser.add_argument("--evals", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="folder for curves.csv and curves.png")
    options = parser.parse_args()
    problem = make_problem(
        options.space,
        options.device,
        options.estimator,
        budget_ms=options.budget,
        margin=options.margin,
        recipe=options.recipe,
        outside=options.outside,
    )
    # As in every search, something feasible is known: the fastest network.
    problem = problem.with_seeds(find_reach(problem).min_row[None])
    title = f"{options.estimator}, {problem.space.name}, {problem.device.name}, {options.budget:g} ms"
    print(f"{title}; {options.evals} evaluations, {options.seeds} seeds", flush=True)
    curves: Curves = {}
    for name in options.strategies.split(","):
        started = time.process_time()
        found = [best_so_far(problem, name, evals=options.evals, seed=seed) for seed in range(options.seeds)]
        curves[name] = np.array(found)
        seconds = (time.process_time() - started) / options.seeds
        print(f"{name}: {seconds:.1f} s of processor time a run", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    print_curves(curves)
    print_needed(curves)
    write_csv(options.out / "curves.csv", curves)
    plot(options.out / "curves.png", curves, title=title, unit=problem.unit)
    print(f"written: {options.out / 'curves.csv'}, {options.out / 'curves.png'}")


if __name__ == "__main__":
    main()
