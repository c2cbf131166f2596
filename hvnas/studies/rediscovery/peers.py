"""Random members of a space at one latency: what a paper's model is compared with.

Members of equal latency are rare among random ones, and rarer still inside a gate. They are reached by random
walks: every walker takes the space's own mutations and keeps to those that lead no further away, then, once
inside, to those that stay inside. A run of blocks is empty or not with equal weight, and members are equally
likely otherwise: with every depth equally likely nearly all would attend in every stage.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvnas.search.problem import Problem
from hvnas.search.seams import Bools, Floats, Rows, SpaceLike

BAND = 0.05
STEPS = 100
_STARTS, _MOVES = 512, 3.0
# Random members that have come inside are enough to begin with, or all that do in so many steps.
_ENOUGH, _WAIT = 128, 400
# Members that each walker gives, at the end and before, steps apart; some more, for some meet.
_GIVEN, _APART, _MORE = 5, 10, 1.08
# Broken rules weigh more than any distance in latency.
_RULE = 100.0


def random_peers(problem: Problem, *, ms: float, n: int, seed: int, steps: int = STEPS) -> Rows:
    """Canonical rows [n, genes] within 5 % of `ms` on the problem's device and inside its gate, each once.

    Fewer than `n` where the space holds so few. Raises ValueError where it holds none there.
    """
    rng = np.random.default_rng(seed)
    rows = _inside(problem, ms, -(-int(n * _MORE) // _GIVEN), rng)
    weights = Weights(problem.space)
    weight = weights(rows)
    given = []
    for left in reversed(range(steps)):
        tried = problem.space.mutate(rows, rng=rng, rate=_MOVES / rows.shape[1])
        found = _distance(problem, tried, ms)
        heavier = weights(tried) - weight
        taken = (found == 0) & (np.log(rng.random(len(rows))) <= heavier)
        rows = np.where(taken[:, None], tried, rows)
        weight = np.where(taken, weight + heavier, weight)
        if left % _APART == 0 and left < _GIVEN * _APART:
            given.append(rows)
    return np.asarray(rng.permutation(np.unique(np.concatenate(given), axis=0))[:n])


def _inside(problem: Problem, ms: float, n: int, rng: np.random.Generator) -> Rows:
    """Walkers inside the band, from random members that came nearer step by step."""
    space = problem.space
    rows = space.sample(_STARTS, rng=rng, macs=(0.1e9, 5e9))
    apart = _distance(problem, rows, ms)
    for _ in range(_WAIT):
        if (apart == 0).sum() >= _ENOUGH:
            break
        tried = space.mutate(rows, rng=rng, rate=_MOVES / rows.shape[1])
        found = _distance(problem, tried, ms)
        nearer = found <= apart
        rows, apart = np.where(nearer[:, None], tried, rows), np.where(nearer, found, apart)
    there = np.flatnonzero(apart == 0)
    if len(there) == 0:
        raise ValueError(f"space {space.name} holds no network of {ms:.3f} ms ± 5 % in the gate; try another")
    return rows[there[rng.integers(len(there), size=n)]]


def _distance(problem: Problem, rows: Rows, ms: float) -> Floats:
    """0 where a row is allowed and within the band; else how far it is from being so. Shape [n]."""
    screened = problem.screen(rows)
    away = np.maximum(np.abs(np.log(screened.latency.ms / ms)) - np.log1p(BAND), 0.0)
    return np.asarray(away + _RULE * screened.broken)


class Weights:
    """The logarithm of each row's weight: an empty run as much as all depths of a run together."""

    def __init__(self, space: SpaceLike) -> None:
        genes = space.genes
        self.places = [i for i, gene in enumerate(genes) if gene.name.endswith(".depth") and 0 in gene.values]
        self.empty = [list(genes[i].values).index(0) for i in self.places]
        self.gain = np.array([np.log(max(1, len(genes[i].values) - 1)) for i in self.places])

    def __call__(self, rows: Rows) -> Floats:
        empty: Bools = rows[:, self.places] == np.array(self.empty)
        return np.asarray(empty @ self.gain)


def percentile(own: float, others: NDArray[np.float64]) -> float:
    """The share of `others` that lie below `own`, in percent; ties count half."""
    return float(100.0 * ((others < own).mean() + 0.5 * (others == own).mean()))
