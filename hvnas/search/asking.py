"""Asking an estimator that takes whole networks, some of which it may refuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hvnas.arch import Arch
from hvnas.search.seams import Floats

if TYPE_CHECKING:
    from hvnas.accuracy import AccuracyEstimator

# So many networks refused and none taken: it is not the networks.
_PATIENCE = 10


@dataclass
class Asked:
    """How many networks an estimator took, and for what reasons it refused others."""

    taken: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def estimate(
        self, estimator: AccuracyEstimator, archs: Sequence[Arch], *, recipe: str, scenario: str
    ) -> tuple[Floats, Floats]:
        """Mean and sd of each network, -inf and 0 where it is refused, such as one too deep for the images.

        Where one is refused all are asked about one at a time. Raises the estimator's ValueError where it
        has refused ten networks and taken none.
        """
        try:
            found = estimator.estimate(archs, recipe=recipe, scenario=scenario)
        except ValueError as error:
            if len(archs) > 1:
                singly = [self.estimate(estimator, [a], recipe=recipe, scenario=scenario) for a in archs]
                means, sds = zip(*singly, strict=True)
                return np.concatenate(means), np.concatenate(sds)
            self.refused[str(error)] += 1
            if not self.taken and self.refused.total() >= _PATIENCE:
                raise
            return np.array([-np.inf]), np.zeros(1)
        self.taken += len(archs)
        return found.mean, found.sd
