"""Drawing and changing populations of rows, vectorised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvnas.ops import Column
from hvnas.space.canonical import Rows
from hvnas.space.fastpath import FastPath

if TYPE_CHECKING:
    from hvnas.space.space import Space

SIZE_COLUMNS = (
    Column("macs", "sum", lambda op: float(op.macs)),
    Column("params", "sum", lambda op: float(op.params)),
)
BINS = 24
MAX_ROUNDS = 60


class Sampler:
    """Sampling, mutation and crossover for one space."""

    def __init__(self, space: Space) -> None:
        self.space = space
        genes = space.layout.genes
        self.ordered = np.array(
            [all(isinstance(v, (int, float)) for v in g.values if v != "same") for g in genes], dtype=bool
        )
        self._fast: FastPath | None = None

    def sizes(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """MACs and params. Shape [n, 2]."""
        if self._fast is None:
            self._fast = FastPath(self.space, SIZE_COLUMNS)
        return self._fast(rows)

    def within_limits(self, sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which rows keep the space's limits, from their `sizes`."""
        limits = self.space.limits
        return (sizes[:, 0] <= limits.get("macs", np.inf)) & (sizes[:, 1] <= limits.get("params", np.inf))

    def propose(self, n: int, *, rng: np.random.Generator) -> Rows:
        """Canonical rows, small and large networks alike.

        A network's ordered genes (widths, depths, ...) are drawn around one level of its own: with
        independent genes nearly all would be of middling size.
        """
        cardinalities = self.space.cardinalities
        uniform = rng.random((n, len(cardinalities)))
        level = rng.random((n, 1))
        around = np.clip(level + rng.normal(0.0, 0.25, uniform.shape), 0.0, 1.0 - 1e-9)
        leveled = self.ordered & (rng.random((n, 1)) < 0.8)
        return self.space.canonicalise((np.where(leveled, around, uniform) * cardinalities).astype(np.int64))

    def sample(self, n: int, *, rng: np.random.Generator, macs: tuple[float, float] | None) -> Rows:
        """See `Space.sample`."""
        if n < 0:
            raise ValueError(f"n: must be >= 0, got {n}")
        kept = [np.zeros((0, len(self.space.genes)), dtype=np.int16)]
        have = 0
        quota = np.full(BINS, -(-n // BINS))
        for _ in range(MAX_ROUNDS):
            if have >= n:
                break
            rows = self.propose(max(256, 2 * (n - have)), rng=rng)
            if macs is not None or self.space.limits:
                rows = self._accept(rows, macs, quota)
            kept.append(rows)
            have += len(rows)
        rows = np.concatenate(kept)
        if have < n:
            rows = self._fill(rows, n, macs, rng)
        return rows[rng.permutation(len(rows))[:n]]

    def _accept(self, rows: Rows, macs: tuple[float, float] | None, quota: NDArray[np.int64]) -> Rows:
        sizes = self.sizes(rows)
        good = self.within_limits(sizes)
        if macs is None:
            return rows[good]
        bins = _bins(sizes[:, 0], macs)
        good &= (bins >= 0) & (bins < BINS)
        chosen = np.zeros(len(rows), dtype=bool)
        for b in np.unique(bins[good]):
            here = np.flatnonzero(good & (bins == b))[: quota[b]]
            chosen[here] = True
            quota[b] -= len(here)
        return rows[chosen]

    def _fill(self, rows: Rows, n: int, macs: tuple[float, float] | None, rng: np.random.Generator) -> Rows:
        """What bins without proposals leave open, from the bins that have them."""
        for _ in range(MAX_ROUNDS):
            if len(rows) >= n:
                return rows
            quota = np.full(BINS, n)
            rows = np.concatenate([rows, self._accept(self.propose(4 * n + 256, rng=rng), macs, quota)])
        if len(rows) >= n:
            return rows
        between = f" between {macs[0]:.3g} and {macs[1]:.3g} MACs" if macs else ""
        raise ValueError(f"space {self.space.name} yields too few networks{between}; widen the range")

    def mutate(self, rows: NDArray[Any], *, rng: np.random.Generator, rate: float) -> Rows:
        """See `Space.mutate`."""
        rows = np.asarray(rows, dtype=np.int64)
        cardinalities = self.space.cardinalities
        hit = rng.random(rows.shape) < rate
        fresh = (rng.random(rows.shape) * cardinalities).astype(np.int64)
        steps = np.where(rng.random(rows.shape) < 0.5, 1, -1) * (1 + (rng.random(rows.shape) < 0.25))
        near = np.clip(rows + steps, 0, cardinalities - 1)
        local = self.ordered & (rng.random(rows.shape) < 0.7)
        return self.space.canonicalise(np.where(hit, np.where(local, near, fresh), rows))

    def crossover(self, a: NDArray[Any], b: NDArray[Any], *, rng: np.random.Generator) -> Rows:
        """See `Space.crossover`."""
        a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
        n = len(a)
        by_gene = rng.random(a.shape) < 0.5
        by_stage = np.zeros(a.shape, dtype=bool)
        by_stage[:, : self.space.layout.stages[0].downsample] = rng.random((n, 1)) < 0.5
        for stage in self.space.layout.stages:
            by_stage[:, stage.all[0] : stage.all[-1] + 1] = rng.random((n, 1)) < 0.5
        take = np.where(rng.random((n, 1)) < 0.7, by_stage, by_gene)
        return self.space.canonicalise(np.where(take, b, a))


def _bins(macs: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.int64]:
    low, high = np.log(bounds[0]), np.log(bounds[1])
    return np.floor((np.log(np.maximum(macs, 1.0)) - low) / (high - low) * BINS).astype(np.int64)
