"""The table of what parts contribute, and networks as sums, maxima and minima over rows of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from hvnas.ops import Column
from hvnas.ops.reader import ORDER, reduce_runs

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class Entries:
    """Rows of column values, the columns in the order of their reducers."""

    def __init__(self, columns: Sequence[Column]) -> None:
        bounds = np.searchsorted([ORDER.index(c.reducer) for c in columns], range(5))
        self._split = int(bounds[1])
        self._slices = {
            r: slice(bounds[k] - bounds[1], bounds[k + 1] - bounds[1]) for k, r in enumerate(ORDER) if k
        }
        # Apart, since the sums are taken by a product with a matrix, which wants them in one piece.
        self._sums = np.empty((256, self._split))
        self._others = np.empty((256, len(columns) - self._split))
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def reserve(self, n: int) -> Ints:
        """Append `n` rows, to be filled; their indices, [n]."""
        end = self._used + n
        if end > len(self._sums):
            self._sums, self._others = (_grown(a, self._used, end) for a in (self._sums, self._others))
        index = np.arange(self._used, end)
        self._used = end
        return index

    def fill(self, index: Ints, values: Array) -> None:
        """Put `values` [n, columns] into the rows `index` [n]."""
        self._sums[index] = values[:, : self._split]
        self._others[index] = values[:, self._split :]

    def combine(self, index: Ints, often: Array, starts: Ints) -> Array:
        """Values of n networks. Shape [n, columns].

        Network i has the rows of `index` [m] from ``starts[i]`` up to the next one's start, at least one,
        each as often as `often` [m] says.
        """
        found = np.empty((len(starts), self._split + self._others.shape[1]))
        bounds = np.append(starts, len(index))
        picked = csr_array((often, index, bounds), shape=(len(starts), self._used))
        found[:, : self._split] = picked @ self._sums[: self._used]
        if self._others.shape[1]:
            reduce_runs(self._others[index], starts, self._slices, out=found[:, self._split :])
        return found


def _grown(array: Array, used: int, end: int) -> Array:
    grown = np.empty((max(end, 2 * len(array)), array.shape[1]))
    grown[:used] = array[:used]
    return grown
