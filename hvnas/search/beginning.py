"""The random architectures that a search begins with."""

from __future__ import annotations

import numpy as np

from hvnas.search.seams import Rows, SpaceLike

# "Random architectures" are log-uniform in MACs over this range, that of the papers' networks.
_MACS = (0.1e9, 5e9)


def random_rows(space: SpaceLike, n: int, *, rng: np.random.Generator) -> Rows:
    """`n` members, log-uniform in MACs over the papers' range; of any size where a space hardly reaches it.

    Shape [n, genes]. Raises ValueError where the space's own limits leave too few networks.
    """
    try:
        return space.sample(n, rng=rng, macs=_MACS)
    except ValueError:
        return space.sample(n, rng=rng)
