"""Every architecture of a small space, each once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hvnas.search.evaluations import Archive
from hvnas.search.problem import Problem, rows_at_once
from hvnas.search.rows import Rows, SeenSet, SpaceLike, row_keys
from hvnas.search.runs.checkpoint import Checkpoint, State
from hvnas.search.runs.session import Progress
from hvnas.search.strategies.registry import Strategy

# An hour or less at the rate of the tabulated estimators, on one core.
MAX_SIZE = 10_000_000
_BATCH = 4096
# Of networks that take seconds, where workers share them.
_SPREAD = 64
_GOLDEN = (math.sqrt(5) - 1) / 2


class Numbered(Protocol):
    """The canonical rows of a space by number."""

    def __len__(self) -> int: ...
    def rows(self, numbers: NDArray[np.int64]) -> Rows: ...


@dataclass(frozen=True)
class Grid(Strategy):
    """Evaluates the problem's seeds, then every other canonical row, or `evals` of them.

    The rows are visited in steps of the golden section of their number, from a start that `seed` draws, so
    that those of a run that is cut short by `evals` are spread over the space. Raises ValueError where the
    space holds more than `MAX_SIZE` rows.
    """

    def check(self, problem: Problem) -> None:
        """Raise ValueError where the space is too large; to be asked before anything is written."""
        refuse_if_large(problem.space)

    def run(
        self, problem: Problem, *, evals: int, seed: int, progress: Progress, checkpoint: Checkpoint
    ) -> Archive:
        """Evaluate `evals` distinct architectures, or all there are if those are fewer."""
        self.check(problem)
        run = _Run(problem, evals=evals, seed=seed)
        checkpoint.restore(run.restore)
        while not run.finished:
            run.step()
            progress.advanced(run.archive, evals=evals)
            if checkpoint.due():
                checkpoint.save(run.state())
        return run.archive


def refuse_if_large(space: SpaceLike) -> None:
    """Raise ValueError where `space` holds more than `MAX_SIZE` canonical rows."""
    if space.size > MAX_SIZE:
        shown = f"{space.size:,}" if space.size < 10**12 else f"{space.size:.1e}"
        raise ValueError(
            f"strategy: grid lists spaces of at most {MAX_SIZE:,} architectures, {space.name} holds {shown}; "
            "narrow the space's lists (parent: in its file), or take another strategy such as evolution"
        )


class _Run:
    """How far the walk through the rows has come."""

    def __init__(self, problem: Problem, *, evals: int, seed: int) -> None:
        self.problem = problem
        self.evals = evals
        self.numbered = number_rows(problem.space)
        self.size = len(self.numbered)
        self.start = int(np.random.default_rng(seed).integers(self.size))
        self.stride = coprime_near(round(_GOLDEN * self.size), self.size)
        self.batch = rows_at_once(problem, _BATCH if problem.cheap else _SPREAD)
        self.archive = Archive(len(problem.space.genes))
        seeds = problem.seeds
        self.seeds = seeds[SeenSet().add(row_keys(seeds))] if len(seeds) else seeds
        self.seed_keys = row_keys(self.seeds)
        self.seeded = self.visited = 0

    @property
    def finished(self) -> bool:
        return self.archive.evaluated >= self.evals or self.visited >= self.size

    def step(self) -> None:
        """One batch: seeds while some are left, then rows that are none."""
        room = min(self.batch, self.evals - self.archive.evaluated)
        if self.seeded < len(self.seeds):
            rows = self.seeds[self.seeded : self.seeded + room]
            self.seeded += len(rows)
        else:
            steps = np.arange(self.visited, min(self.visited + room, self.size), dtype=np.int64)
            rows = self.numbered.rows((self.start + self.stride * steps) % self.size)
            self.visited += len(steps)
            rows = rows[~np.isin(row_keys(rows), self.seed_keys)]
        if len(rows):
            self.archive.add(rows, self.problem.evaluate(rows))

    def state(self) -> State:
        """Everything that the next step depends on."""
        meta = {"evaluated": self.archive.evaluated, "visited": self.visited, "seeded": self.seeded}
        return State(arrays=self.archive.arrays(), meta=meta)

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self.archive = Archive.stored(state.arrays, evaluated=state.meta["evaluated"])
        self.visited, self.seeded = state.meta["visited"], state.meta["seeded"]


def coprime_near(wanted: int, size: int) -> int:
    """The first number from `wanted` on that shares no factor with `size`: steps of it visit every row."""
    while math.gcd(max(wanted, 1), size) != 1:
        wanted += 1
    return max(wanted, 1)


def number_rows(space: SpaceLike) -> Numbered:
    """The canonical rows of `space` by number."""
    from hvnas.space import Space
    from hvnas.space.canonical.enumerate import Enumeration

    return Enumeration(space) if isinstance(space, Space) else Listed(space)


class Listed:
    """The canonical rows of any space: those products of the genes' values that are their own canonical form.

    Raises ValueError where there are more than ten times `MAX_SIZE` products.
    """

    _CHUNK = 1 << 18

    def __init__(self, space: SpaceLike) -> None:
        cardinalities = [int(c) for c in space.cardinalities]
        products = math.prod(cardinalities)
        if products > 10 * MAX_SIZE:
            raise ValueError(
                f"strategy: grid cannot list {space.name}: its genes have {products:.1e} products, most of "
                "them inactive; take another strategy such as evolution"
            )
        radix = np.cumprod([1, *cardinalities[:-1]], dtype=np.int64)
        found = [np.empty((0, len(cardinalities)), dtype=np.int16)]
        for start in range(0, products, self._CHUNK):
            numbers = np.arange(start, min(start + self._CHUNK, products))
            rows = (numbers[:, None] // radix % cardinalities).astype(np.int16)
            found.append(rows[(space.canonicalise(rows) == rows).all(axis=1)])
        self._rows: Rows = np.concatenate(found)

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, numbers: NDArray[np.int64]) -> Rows:
        """The rows with these numbers, int16 [n, genes]."""
        return self._rows[numbers]
