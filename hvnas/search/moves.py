"""Steps from encodings to nearby encodings, for whole batches."""

from __future__ import annotations

import numpy as np

from hvnas.search.seams import Rows, SpaceLike


def distinct(rows: Rows) -> Rows:
    """The rows without repeats, in the order of their first occurrence."""
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)]


def alternatives(space: SpaceLike, rows: Rows, gene: int) -> Rows:
    """Every row with every other value of one gene, canonical. Shape [n * (cardinality - 1), genes]."""
    return space.canonicalise(_with_other_values(rows, gene, int(space.cardinalities[gene])))


def neighbours(space: SpaceLike, rows: Rows) -> Rows:
    """Every row with every other value of every gene, one at a time, canonical; repeats included."""
    changed = [_with_other_values(rows, gene, int(c)) for gene, c in enumerate(space.cardinalities)]
    return space.canonicalise(np.concatenate(changed))


def _with_other_values(rows: Rows, gene: int, cardinality: int) -> Rows:
    changed = np.repeat(rows, cardinality - 1, axis=0)
    steps = np.tile(np.arange(1, cardinality, dtype=np.int64), len(rows))
    changed[:, gene] = (changed[:, gene] + steps) % cardinality
    return changed
