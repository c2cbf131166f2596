"""Members of a space at one latency: random ones, and all those that may be the best within a budget.

Members of equal latency are rare among random ones, and rarer still inside a gate. They are reached by random
walks: every walker takes the space's own mutations and keeps to those that lead no further away, then, once
inside, to those that stay inside. A run of blocks is empty or not with equal weight, and members are equally
likely otherwise: with every depth equally likely nearly all would attend in every stage.

A search ends in one network, but the evidence does not tell it from thousands of others. `near_optimal` walks
over those in the same way, from the fronts of several searches and from random members: over the members
within the budget whose chance of being better than the best one found is `CHANCE` or more. What is believed
of all of them together is then drawn many times, and the best of each draw is counted: the share of draws
that a network wins is its chance of being the best.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from hvnas.arch import Arch
from hvnas.search.problem import Problem
from hvnas.search.rows import Bools, Floats, Rows, SpaceLike
from hvnas.studies.rediscovery.patterns import PATTERNS, LayoutOf, patterns_of

# The patterns of so many random members of equal latency are counted.
COUNTED = 500
BAND = 0.05
STEPS = 100
_STARTS, _MOVES = 512, 3.0
# Random members that have come inside are enough to begin with, or all that do in so many steps.
_ENOUGH, _WAIT = 128, 400
# Members that each walker gives, at the end and before, steps apart; some more, for some meet.
_GIVEN, _APART, _MORE = 5, 10, 1.08
# Broken rules weigh more than any distance in latency.
_RULE = 100.0

# Members whose chance of being better than the best one is lower are not near-optimal.
CHANCE = 0.1
# Near-optimal members that compete, and how often what is believed of them is drawn.
MEMBERS, DRAWS = 1500, 4000
_WALKERS, _NEAR_STEPS = 256, 60
# Quantiles of a posterior's interval, and its middle.
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class NetworkSummary:
    """A network with its layout and what is predicted of it."""

    arch: Arch
    layout: LayoutOf
    ms: float
    top1: float
    sd: float
    params: int
    macs: int

    @classmethod
    def of(cls, problem: Problem, arch: Arch) -> NetworkSummary:
        """What `problem` says of a member of its space."""
        found = problem.evaluate(problem.space.encode(arch)[None])
        return cls(
            arch=arch,
            layout=LayoutOf.of(arch),
            ms=float(found.ms[0]),
            top1=float(found.top1[0]),
            sd=float(found.sd[0]),
            params=int(found.params[0]),
            macs=int(found.macs[0]),
        )


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


@dataclass(frozen=True)
class Interval:
    """The 10, 50 and 90 % quantiles of a whole number."""

    low: int
    median: int
    high: int

    @classmethod
    def of(cls, values: NDArray[np.int64], chances: Floats) -> Interval:
        """That of `values` [n] with these probabilities [n]."""
        order = np.argsort(values, kind="stable")
        below = np.cumsum(chances[order]) / chances.sum()
        places = [min(int(np.searchsorted(below, q - 1e-12)), len(order) - 1) for q in QUANTILES]
        return cls(*(int(values[order[place]]) for place in places))

    def holds(self, value: int) -> bool:
        """Whether `value` lies between the outer quantiles."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class StagePosterior:
    """What is believed of one stage of the best network: blocks without and with attention, depth, width.

    `attends` is the probability that it has any block with attention.
    """

    attends: float
    local: Interval
    attending: Interval
    depth: Interval
    width: Interval


@dataclass(frozen=True)
class NearOptimal:
    """The members that may be the best within a budget, and the chance of each to be that.

    `chances` [n] is the share of draws that a member wins; `layouts` are those of the n members. `best` is
    the place of the one with the highest top-1 less its standard deviation.
    """

    layouts: tuple[LayoutOf, ...]
    chances: Floats
    best: int

    def __len__(self) -> int:
        return len(self.layouts)

    @cached_property
    def patterns(self) -> dict[str, float]:
        """The probability that the best network has each pattern, and ``all four``."""
        held = [patterns_of(layout) for layout in self.layouts]
        found = {name: self._chance([each[name] for each in held]) for name in PATTERNS}
        return found | {"all four": self._chance([all(each.values()) for each in held])}

    @cached_property
    def stages(self) -> tuple[StagePosterior, ...]:
        """The posterior of every stage."""
        depths = np.array([layout.depths for layout in self.layouts])
        attending = np.array([layout.attending for layout in self.layouts])
        widths = np.array([layout.widths for layout in self.layouts])
        numbers = (depths - attending, attending, depths, widths)
        return tuple(
            StagePosterior(
                self._chance(attending[:, i] > 0),
                *(Interval.of(each[:, i], self.chances) for each in numbers),
            )
            for i in range(depths.shape[1])
        )

    def _chance(self, having: Bools | list[bool]) -> float:
        return float(self.chances[np.asarray(having, dtype=np.bool_)].sum())


def near_optimal(
    problem: Problem, starts: Rows, *, members: int = MEMBERS, steps: int = _NEAR_STEPS, seed: int = 0
) -> NearOptimal:
    """The members of `problem`'s space that may be the best, reached from canonical rows `starts`.

    `starts` [n, genes] are fronts of searches and random members; those that the problem forbids do not
    count. At most `members` compete, the best of `starts` among them. What is compared is what a search
    maximises, top-1 less its standard deviation. Raises ValueError where none of `starts` is allowed.
    """
    rng = np.random.default_rng(seed)
    rows = np.unique(starts, axis=0)
    rows = rows[problem.allowed(rows)]
    if not len(rows):
        raise ValueError(
            f"budget: none of {len(starts)} networks keeps {problem.budget_ms:.3f} ms; start from others"
        )
    best = rows[[int(np.argmax(problem.evaluate(rows).objective))]]
    rows = rows[_may_be_best(problem, best, rows)]
    walked = _walk(problem, best, rows[rng.integers(len(rows), size=_WALKERS)], steps, rng)
    found = rng.permutation(np.unique(np.concatenate([rows, walked]), axis=0))[: members - 1]
    found = np.unique(np.concatenate([best, found]), axis=0)
    mean, covariance = problem.joint(found)
    objective = mean - problem.evaluate(found).sd
    drawn = rng.multivariate_normal(objective, covariance, DRAWS, method="cholesky")
    chances = np.bincount(drawn.argmax(axis=1), minlength=len(found)) / DRAWS
    layouts = tuple(LayoutOf.of(problem.space.decode(row)) for row in found)
    return NearOptimal(layouts, chances, int(np.argmax(objective)))


def _walk(problem: Problem, best: Rows, rows: Rows, steps: int, rng: np.random.Generator) -> Rows:
    """Where walkers come by that keep to members that may be the best; those that they begin at aside."""
    weights = Weights(problem.space)
    weight = weights(rows)
    given = [rows[:0]]
    for step in range(1, steps + 1):
        tried = problem.space.mutate(rows, rng=rng, rate=_MOVES / rows.shape[1])
        heavier = weights(tried) - weight
        taken = (np.log(rng.random(len(rows))) <= heavier) & problem.allowed(tried)
        taken[taken] = _may_be_best(problem, best, tried[taken])
        rows = np.where(taken[:, None], tried, rows)
        weight = np.where(taken, weight + heavier, weight)
        if step % _APART == 0:
            given.append(rows)
    return np.concatenate(given)


def _may_be_best(problem: Problem, best: Rows, rows: Rows) -> Bools:
    """Whether each of `rows` is better than row `best` [1, genes] with a chance of `CHANCE` or more."""
    limit = float(norm.ppf(CHANCE))
    found = np.zeros(len(rows), dtype=np.bool_)
    for at in range(0, len(rows), _WALKERS):
        part = np.concatenate([best, rows[at : at + _WALKERS]])
        mean, covariance = problem.joint(part)
        objective = mean - problem.evaluate(part).sd
        variance = np.diag(covariance)
        spread = np.sqrt(np.maximum(variance[1:] + variance[0] - 2 * covariance[0, 1:], 0.0))
        found[at : at + _WALKERS] = objective[1:] - objective[0] >= limit * spread
    return found
