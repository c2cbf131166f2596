"""The Pareto archive: the exact front of everything feasible that was evaluated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hvnas.search.evaluations import Evaluations
from hvnas.search.pareto import dominated, front
from hvnas.search.seams import Bools, Rows
from hvnas.search.shown import best_place


class Archive:
    """The front so far, the first objective rising, and how many architectures were evaluated.

    `rows` int16 [k, genes] and `evaluations` of k architectures, all feasible. Of several architectures
    that are equal in every objective the one that came first stays.
    """

    def __init__(self, genes: int) -> None:
        self.rows: Rows = np.empty((0, genes), dtype=np.int16)
        self.evaluations = Evaluations.none()
        self.evaluated = 0

    def __repr__(self) -> str:
        return f"Archive({len(self)} on the front of {self.evaluated:,} evaluated)"

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, rows: Rows, evaluations: Evaluations) -> None:
        """Count n newly evaluated architectures and keep those that belong to the front."""
        self.evaluated += len(rows)
        candidates = np.flatnonzero(evaluations.feasible)
        candidates = candidates[~self._dominates(evaluations.take(candidates))]
        if len(candidates) == 0:
            return
        joined = Evaluations.join([self.evaluations, evaluations.take(candidates)])
        kept = front(joined.costs)
        self.rows = np.concatenate([self.rows, rows[candidates]])[kept]
        self.evaluations = joined.take(kept)

    def _dominates(self, evaluations: Evaluations) -> Bools:
        """Where a point is dominated by, or equal to, one in the archive."""
        if len(self) == 0:
            return np.zeros(len(evaluations), dtype=np.bool_)
        own, costs = self.evaluations.costs, evaluations.costs
        if own.shape[1] != 2:
            return dominated(costs, by=own)
        # The second cost rises along a front of two, the first falls.
        place = np.searchsorted(own[:, 1], costs[:, 1], side="right") - 1
        reached = np.where(place >= 0, own[np.maximum(place, 0), 0], np.inf)
        return reached <= costs[:, 0]

    def arrays(self) -> dict[str, np.ndarray]:
        """The front as plain arrays, to be stored."""
        named = {f"front.{name}": array for name, array in self.evaluations.arrays().items()}
        return {"front.rows": self.rows, **named}

    @staticmethod
    def stored(arrays: Mapping[str, np.ndarray], *, evaluated: int) -> Archive:
        """The archive whose `arrays` these are. Raises KeyError and ValueError as `Evaluations.stored`."""
        rows, evaluations = arrays["front.rows"], Evaluations.stored(arrays, prefix="front.")
        if rows.ndim != 2 or len(rows) != len(evaluations) or rows.dtype != np.int16:
            raise ValueError(f"front.rows: are not {len(evaluations)} encodings")
        if not np.isfinite(evaluations.costs).all() or not len(rows) <= int(evaluated):
            raise ValueError("front: holds what no search finds")
        archive = Archive(rows.shape[1])
        archive.rows, archive.evaluations = rows, evaluations
        archive.evaluated = evaluated
        return archive

    @property
    def best(self) -> Evaluations | None:
        """The best by the first objective, a batch of one; None before anything feasible is found.

        One whose accuracy is a guess is the best only where there is no other.
        """
        return self.evaluations.take(np.array([best_place(self.evaluations.sd)])) if len(self) else None
