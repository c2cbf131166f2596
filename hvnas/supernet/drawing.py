"""Random members of a space that train all of a supernet about alike."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas.arch import INNER
from hvnas.ops import MACS
from hvnas.space import FastPath, Space
from hvnas.space.canonical import Rows
from hvnas.space.layout import SLOTS
from hvnas.supernet.variants import SAME_WIDTH, STRIDED, places_of

KNOWN = 4096  # members that tell how often a branch is drawn
AT_ONCE = 64  # members chosen together, of so many times as many
OF = 8
SPAN = (0.01, 0.9)  # quantiles of MACs
WIDE = 1.5  # a ratio of them that is worth spreading members over


class EvenDraws:
    """Members by number: small and large ones alike, and of every stage each branch about as often.

    MACs are drawn log-uniformly between the `SPAN` quantiles of what a search would draw (of uniform genes
    few members are small). Of those a member is chosen with a probability that is inverse to the share of
    its rarest branch: a space's rules make some many times as frequent as others, and what is trained more
    would look better than it is. The seed and the number determine a member.
    """

    def __init__(self, space: Space, *, seed: int) -> None:
        self.space, self.seed = space, seed
        self._macs = _macs_of(space)
        places = places_of(space).variants
        self._same = {(at.rpartition(".")[0], name) for at, name in places if name.endswith(SAME_WIDTH)}
        known = space.sample(KNOWN, rng=np.random.default_rng(0), macs=self._macs)
        self._shares = Counter(branch for row in known for branch in self._branches(row))
        self._rows: tuple[int, Rows] = (-1, known[:0])

    def row(self, number: int) -> NDArray[Any]:
        """Member `number` (from 0). Shape [genes]."""
        turn, place = divmod(number, AT_ONCE)
        if self._rows[0] != turn:
            self._rows = turn, self._chosen(np.random.default_rng([self.seed, turn, 2]))
        return self._rows[1][place]

    def _chosen(self, rng: np.random.Generator) -> Rows:
        rows = self.space.sample(OF * AT_ONCE, rng=rng, macs=self._macs)
        rarest = [min(max(1, self._shares[branch]) for branch in self._branches(row)) for row in rows]
        weights = 1.0 / np.array(rarest)
        return rows[rng.choice(len(rows), AT_ONCE, p=weights / weights.sum())]

    def _branches(self, row: NDArray[Any]) -> list[tuple[str, str]]:
        """The branches that a member has blocks of, by place."""
        choices, found = self.space.choices(row), []
        before = choices["stem.width"]
        for i in range(choices["stages"]):
            stage = f"stages.{i}"
            preset, width = choices[f"{stage}.downsample"], choices[f"{stage}.width"]
            found.append((f"{stage}.downsample", preset))
            strides = self.space.spec.downsamples[preset].block == INNER
            for run in (f"{stage}.{slot}" for slot in SLOTS):
                if choices[f"{run}.depth"]:
                    branch = choices[f"{run}.type"] + (STRIDED if strides else "")
                    same = (run, branch + SAME_WIDTH)
                    found.append(same if width == before and same in self._same else (run, branch))
                    strides = False
            before = width
        return found


def _macs_of(space: Space) -> tuple[float, float] | None:
    """The `SPAN` of the MACs of random members; None where most are of one size."""
    rows = space.sample(KNOWN // OF, rng=np.random.default_rng(0))
    low, high = np.quantile(FastPath(space, (MACS,))(rows)[:, 0], SPAN)
    return (float(low), float(high)) if high > WIDE * low else None
