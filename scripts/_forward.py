"""Choosing a linear model's terms by forward selection, families left out in their turn.

Least squares of n networks needs of a family only its Gram matrix: leaving families out is a subtraction,
and thousands of fits take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

Floats = NDArray[np.float64]
RIDGE = 1e-9  # of a column's mean square: collinear columns leave the Gram matrix positive


@dataclass(frozen=True)
class Grams:
    """Relative design and Gram matrices, family by family; the first column is the fixed cost.

    Columns are scaled to a mean square of one.
    """

    names: tuple[str, ...]
    designs: tuple[Floats, ...]
    grams: Floats
    sums: Floats

    @staticmethod
    def of(values: dict[str, Floats], ms: Floats, families: NDArray[np.str_]) -> Grams:
        """Of columns by name [n], times [n] and the networks' families [n]."""
        design = np.stack([np.ones(len(ms)), *values.values()], axis=1) / ms[:, None]
        scale = np.sqrt((design**2).mean(0))
        design = design / np.where(scale > 0, scale, 1)
        parts = tuple(design[families == family] for family in np.unique(families))
        return Grams(
            names=("fixed", *values),
            designs=parts,
            grams=np.stack([part.T @ part for part in parts]),
            sums=np.stack([part.sum(0) for part in parts]),
        )

    def without(self, family: int) -> Grams:
        """Those of the other families."""
        keep = [k for k in range(len(self.designs)) if k != family]
        return Grams(self.names, tuple(self.designs[k] for k in keep), self.grams[keep], self.sums[keep])

    def merged(self, groups: int) -> Grams:
        """With families taken together in so many groups."""
        parts = [range(k, len(self.designs), groups) for k in range(min(groups, len(self.designs)))]
        return Grams(
            self.names,
            tuple(np.concatenate([self.designs[k] for k in part]) for part in parts),
            np.stack([self.grams[list(part)].sum(0) for part in parts]),
            np.stack([self.sums[list(part)].sum(0) for part in parts]),
        )

    def mape(self, terms: Sequence[str]) -> float:
        """Mean absolute error in percent, every family, or group of families, left out in its turn."""
        index = [0, *(self.names.index(name) for name in terms)]
        grams, sums = self.grams[:, index][:, :, index], self.sums[:, index]
        off = [
            np.abs(design[:, index] @ _solve(grams.sum(0) - gram, sums.sum(0) - total) - 1)
            for design, gram, total in zip(self.designs, grams, sums, strict=True)
        ]
        return float(100 * np.concatenate(off).mean())


def _solve(gram: Floats, total: Floats) -> Floats:
    """Non-negative least squares from the normal equations."""
    lower = cholesky(gram + RIDGE * len(gram) * np.eye(len(gram)), lower=True)
    solution: Floats = nnls(lower.T, solve_triangular(lower, total, lower=True), maxiter=1000)[0]
    return solution


def fit(design: Floats, ms: Floats) -> Floats:
    """Non-negative least squares of the relative error: parameters, one per column of `design` [n, k]."""
    relative = design / ms[:, None]
    scale = np.sqrt((relative**2).mean(0))
    scale = np.where(scale > 0, scale, 1)
    solution: Floats = nnls(relative / scale, np.ones(len(ms)), maxiter=1000)[0] / scale
    return solution


def left_out(design: Floats, ms: Floats, groups: NDArray[np.str_]) -> Floats:
    """Milliseconds [n] of every network, from a fit to those of the other groups."""
    predicted = np.empty(len(ms))
    for group in np.unique(groups):
        held = groups == group
        predicted[held] = design[held] @ fit(design[~held], ms[~held])
    return predicted


def choose(
    grams: Grams, start: Sequence[str], candidates: Sequence[str], *, gain: float, at_most: int
) -> list[tuple[str, float]]:
    """Terms in the order they enter, each with the error once it is in; `start` enters first.

    The candidate that lowers the error most enters, as long as it lowers it by `gain` points.
    """
    steps = [(name, grams.mape(start[: k + 1])) for k, name in enumerate(start)]
    chosen = list(start)
    while len(chosen) < at_most:
        errors = {name: grams.mape([*chosen, name]) for name in candidates if name not in chosen}
        best = min(errors, key=lambda name: errors[name])
        if steps[-1][1] - errors[best] < gain:
            break
        chosen.append(best)
        steps.append((best, errors[best]))
    return steps
