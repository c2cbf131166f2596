"""The random architectures that a search begins with."""

from __future__ import annotations

import numpy as np

from hvnas.search.seams import Rows, SpaceLike

# "Random architectures" are log-uniform in MACs over this range, that of the papers' networks.
_MACS = (0.1e9, 5e9)


def random_rows(space: SpaceLike, n: int, *, rng: np.random.Generator) -> Rows:
    """`n` members, log-uniform in MACs over the papers' range; of any size where a space hardly reaches it.

    Where the space's own limits leave too few, encodings that may exceed them. Shape [n, genes].
    """
    for macs in (_MACS, None):
        try:
            return space.sample(n, rng=rng, macs=macs)
        except ValueError:
            continue
    drawn = rng.integers(np.asarray(space.cardinalities), size=(n, len(space.genes)))
    return space.canonicalise(drawn.astype(np.int16))
