"""The largest and the smallest member of a space, of all or of those with an architecture's block types."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvnas.ops import MACS, PARAMS
from hvnas.space import FastPath, Space
from hvnas.space.canonical import Rows

MAX_MOVES = 200
OUTSIDE = 1e30  # more than the MACs of any network


def extreme(space: Space, *, sign: int) -> Rows:
    """A row that no change of one gene makes larger (`sign` 1) or smaller (-1) in MACs. Shape [genes].

    It starts from the largest (smallest) values of all ordered genes.
    """
    path = FastPath(space, (MACS, PARAMS))
    row = with_sizes(space, space.canonicalise(np.zeros((1, len(space.genes)), dtype=np.int64))[0], sign=sign)
    best = _size(space, path, row[None], sign)[0]
    for _ in range(MAX_MOVES):
        around = neighbours(space, row)
        sizes = _size(space, path, around, sign)
        k = int(sizes.argmax())
        if not sizes[k] > best:
            break
        row, best = around[k], sizes[k]
    return row


def _size(space: Space, path: FastPath, rows: Rows, sign: int) -> NDArray[np.float64]:
    """MACs times `sign`; below all of those, what is outside the space's limits, by how far it is."""
    macs, params = path(rows).T
    limits = space.limits
    excess = np.maximum(macs / limits.get("macs", np.inf), params / limits.get("params", np.inf))
    return np.where(excess > 1, -OUTSIDE * excess, sign * macs)


def neighbours(space: Space, row: Rows) -> Rows:
    """`row` and, canonical, every row with another value of one of its genes. Shape [n, genes]."""
    rows = []
    for i, count in enumerate(space.cardinalities):
        for value in range(count):
            if value != row[i]:
                other = row.copy()
                other[i] = value
                rows.append(other)
    return space.canonicalise(np.array([row, *rows]))


def with_sizes(space: Space, row: Rows, *, sign: int) -> Rows:
    """`row` with every ordered gene at its largest or smallest value; types, empty runs and stages stay."""
    row = row.copy()
    for i, gene in enumerate(space.genes):
        sizes = sizes_of(gene.values)
        if gene.name == "stages" or sizes is None:
            continue
        if gene.name.endswith(".depth"):
            if sizes[row[i]] == 0:
                continue
            sizes = [size if size else np.inf * -sign for size in sizes]
        row[i] = int(np.argmax(sign * np.array(sizes)))
    return space.canonicalise(row[None])[0]


def sizes_of(values: tuple[object, ...]) -> list[float] | None:
    """The values as numbers, a profile as its mean; None where some are neither."""
    sizes = []
    for value in values:
        entries = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(entry, int | float) for entry in entries):
            return None
        sizes.append(float(np.mean(entries)))
    return sizes
