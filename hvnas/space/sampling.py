"""Drawing and changing populations of rows, vectorised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvnas.ops import MACS, PARAMS
from hvnas.space.canonical.canonical import Rows
from hvnas.space.fastpath.fastpath import FastPath

if TYPE_CHECKING:
    from hvnas.space.layout import Encoded

SIZE_COLUMNS = (MACS, PARAMS)
BINS = 24
MAX_ROUNDS = 60
PATIENCE = 30


class Sampler:
    """Sampling, mutation and crossover for one space."""

    def __init__(self, space: Encoded) -> None:
        self.space = space
        genes = space.layout.genes
        self.ordered = np.array(
            [all(isinstance(v, (int, float)) for v in g.values if v != "same") for g in genes], dtype=bool
        )
        self._fast: FastPath | None = None

    def read_sizes_from(self, path: FastPath) -> None:
        """See `Space.read_sizes_from`."""
        if set(SIZE_COLUMNS) <= set(path.asked):
            self._fast = path

    def sizes(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """MACs and params. Shape [n, 2]."""
        if self._fast is None:
            self._fast = FastPath(self.space, SIZE_COLUMNS)
        return self._fast(rows)[:, [self._fast.asked.index(column) for column in SIZE_COLUMNS]]

    def within_limits(self, sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which rows keep the space's limits, from their `sizes`."""
        limits = self.space.limits
        return (sizes[:, 0] <= limits.get("macs", np.inf)) & (sizes[:, 1] <= limits.get("params", np.inf))

    def propose(self, n: int, *, rng: np.random.Generator, level: NDArray[np.float64] | None = None) -> Rows:
        """Canonical rows, small and large networks alike.

        A network's ordered genes (widths, depths, ...) are drawn around one `level` of its own, from 0
        to 1: with independent genes nearly all would be of middling size. A fifth are drawn independently
        all the same where no levels are given.
        """
        cardinalities = self.space.cardinalities
        uniform = rng.random((n, len(cardinalities)))
        leveled = self.ordered & ((rng.random((n, 1)) < 0.8) | (level is not None))
        middle = rng.random(n) if level is None else level
        around = np.clip(middle[:, None] + rng.normal(0.0, 0.2, uniform.shape), 0.0, 1.0 - 1e-9)
        return self.space.canonicalise((np.where(leveled, around, uniform) * cardinalities).astype(np.int64))

    def sample(self, n: int, *, rng: np.random.Generator, macs: tuple[float, float] | None) -> Rows:
        """See `Space.sample`."""
        if n < 0:
            raise ValueError(f"n: must be >= 0, got {n}")
        aim = _Aim(n, macs, rng)
        kept = [np.zeros((0, len(self.space.genes)), dtype=np.int16)]
        for _ in range(MAX_ROUNDS):
            missing = n - sum(map(len, kept))
            if missing <= 0:
                rows = np.concatenate(kept)
                return rows[rng.permutation(len(rows))[:n]]
            level = aim.levels(max(128, 2 * missing))
            rows = self.propose(len(level), rng=rng, level=level)
            sizes = self.sizes(rows)
            kept.append(rows[aim.accept(level, sizes[:, 0], self.within_limits(sizes))])
        between = f" between {macs[0]:.3g} and {macs[1]:.3g} MACs" if macs else ""
        raise ValueError(f"space {self.space.name} yields too few networks{between}; widen the range")

    def mutate(self, rows: NDArray[Any], *, rng: np.random.Generator, rate: float) -> Rows:
        """See `Space.mutate`."""
        changed = mutated(rows, self.space.cardinalities, self.ordered, rng=rng, rate=rate)
        return self.space.canonicalise(changed)

    def crossover(
        self, a: NDArray[Any], b: NDArray[Any], *, rng: np.random.Generator, canonical: bool = True
    ) -> Rows:
        """See `Space.crossover`."""
        n = len(a)
        by_gene = rng.random(a.shape) < 0.5
        by_stage = np.zeros(a.shape, dtype=bool)
        by_stage[:, : self.space.layout.stages[0].downsample] = rng.random((n, 1)) < 0.5
        for stage in self.space.layout.stages:
            by_stage[:, stage.all[0] : stage.all[-1] + 1] = rng.random((n, 1)) < 0.5
        take = np.where(rng.random((n, 1)) < 0.7, by_stage, by_gene)
        children = np.where(take, b, a)
        return self.space.canonicalise(children) if canonical else children


def mutated(
    rows: NDArray[Any],
    cardinalities: NDArray[Any],
    ordered: NDArray[np.bool_],
    *,
    rng: np.random.Generator,
    rate: float,
) -> NDArray[np.int64]:
    """Each gene changed with probability `rate`: an `ordered` one by a step or two mostly, else redrawn.

    `rows` is [n, genes], the others [genes].
    """
    changed = np.array(rows, dtype=np.int64)
    drawn = rng.random((5, changed.size))
    hit = np.flatnonzero(drawn[0] < rate)
    gene, (where, direction, far, kind) = hit % changed.shape[1], drawn[1:, hit]
    choices = cardinalities[gene]
    fresh = (where * choices).astype(np.int64)
    steps = np.where(direction < 0.5, 1, -1) * (1 + (far < 0.25))
    near = np.clip(changed.ravel()[hit] + steps, 0, choices - 1)
    changed.put(hit, np.where(ordered[gene] & (kind < 0.7), near, fresh))
    return changed


class _Aim:
    """Levels that lead to networks of the MACs still wanted, learnt from those already drawn."""

    def __init__(self, n: int, macs: tuple[float, float] | None, rng: np.random.Generator) -> None:
        self.rng, self.macs = rng, macs
        self.bounds = np.log(macs) if macs else np.array([0.0, 60.0])
        self.quota = np.full(BINS, -(-n // BINS)) if macs else np.full(1, n)
        self.levels_seen = np.zeros(0)
        self.macs_seen = np.zeros(0)
        self.rounds = 0

    def levels(self, n: int) -> NDArray[np.float64]:
        """Levels to draw next. Shape [n]."""
        if self.macs is None or not len(self.levels_seen):
            return self.rng.random(n)
        open_bins = np.flatnonzero(self.quota > 0)
        bins = self.rng.choice(open_bins, n) if len(open_bins) else self.rng.integers(0, BINS, n)
        low, high = self.bounds
        target = low + (bins + self.rng.random(n)) / BINS * (high - low)
        order = np.argsort(self.macs_seen)
        near = np.searchsorted(self.macs_seen[order], target) + self.rng.integers(-8, 9, n)
        level = self.levels_seen[order[np.clip(near, 0, len(order) - 1)]]
        return np.clip(level + self.rng.normal(0.0, 0.05, n), 0.0, 1.0)

    def accept(
        self, level: NDArray[np.float64], macs: NDArray[np.float64], allowed: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Which of the drawn networks to keep: allowed, and in a bin that is still open."""
        log_macs = np.log(np.maximum(macs, 1.0))
        self.levels_seen = np.concatenate([self.levels_seen, level])
        self.macs_seen = np.concatenate([self.macs_seen, log_macs])
        self.rounds += 1
        if self.macs is None:
            return allowed
        low, high = self.bounds
        bins = np.floor((log_macs - low) / (high - low) * BINS).astype(np.int64)
        chosen = np.zeros(len(level), dtype=bool)
        for b in np.unique(bins[allowed & (bins >= 0) & (bins < BINS)]):
            # Bins that stay empty for long may have no members: the others fill up instead.
            room = self.quota[b] if self.rounds < PATIENCE else len(level)
            here = np.flatnonzero(allowed & (bins == b))[: max(0, room)]
            chosen[here] = True
            self.quota[b] -= len(here)
        return chosen
