"""The table of what parts contribute, and networks as sums, maxima and minima over rows of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from hvnas.ops import Column
from hvnas.ops.columns import IDENTITY
from hvnas.ops.reader import ORDER

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class Entries:
    """Rows of column values, the columns in the order of their reducers. Row 0 contributes nothing."""

    def __init__(self, columns: Sequence[Column]) -> None:
        bounds = np.searchsorted([ORDER.index(c.reducer) for c in columns], range(5))
        self._split = int(bounds[1])
        self._slices = {
            r: slice(bounds[k] - bounds[1], bounds[k + 1] - bounds[1]) for k, r in enumerate(ORDER)
        }
        identity = np.array([IDENTITY[c.reducer] for c in columns])
        # Apart, since the sums are taken by a product with a matrix, which wants them in one piece.
        self._sums = np.tile(identity[: self._split], (256, 1))
        self._others = np.tile(identity[self._split :], (256, 1))
        self._used = 1

    def __len__(self) -> int:
        return self._used

    def add(self, values: Array) -> Ints:
        """Append rows, [n, columns]; their indices, [n]."""
        end = self._used + len(values)
        if end > len(self._sums):
            self._sums, self._others = (_grown(a, self._used, end) for a in (self._sums, self._others))
        self._sums[self._used : end] = values[:, : self._split]
        self._others[self._used : end] = values[:, self._split :]
        index = np.arange(self._used, end)
        self._used = end
        return index

    def combine(self, index: Ints, often: Array) -> Array:
        """Values of n networks of k parts: the rows `index` [n, k], each `often` times. Shape [n, columns].

        Parts that a network lacks have row 0.
        """
        found = np.empty((len(index), self._split + self._others.shape[1]))
        there = index > 0
        ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        picked = csr_array((often[there], index[there], ends), shape=(len(index), self._used))
        found[:, : self._split] = picked @ self._sums[: self._used]
        others = found[:, self._split :]
        others[:] = self._others[index[:, 0]]
        after = np.empty_like(others, order="C")
        for part in np.ascontiguousarray(index.T[1:]):
            if part.any():
                np.take(self._others, part, axis=0, out=after, mode="clip")
                self._behind(others, after)
        return found

    def _behind(self, before: Array, after: Array) -> None:
        """Put what one part contributes to maxima, minima and last values behind what came before."""
        for reducer, reduce in (("max", np.maximum), ("min", np.minimum)):
            s = self._slices[reducer]  # type: ignore[index]
            if s.start < s.stop:
                reduce(before[:, s], after[:, s], out=before[:, s])
        s = self._slices["last"]
        if s.start < s.stop:
            np.copyto(before[:, s], after[:, s], where=~np.isnan(after[:, s]))


def _grown(array: Array, used: int, end: int) -> Array:
    grown = np.empty((max(end, 2 * len(array)), array.shape[1]))
    grown[:used] = array[:used]
    return grown
