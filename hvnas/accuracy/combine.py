"""Several estimators as one, by the ranks that they give.

Points of top-1, logarithms of determinants and counts have no common scale, ranks have. Each estimator
ranks the networks that it is asked about together; the score of a network is the mean of its normalised
ranks (`hvnas.accuracy.ranks`), in (0, 1). It depends on the company: scores of two calls do not compare,
and the score of a single network is always 0.5. That is why a search, which compares networks that it met
at different times, does not take a combination; it ranks the networks of a front or of a batch.

AZ-NAS (2403.19232, section 3) sums logarithms of ranks instead, which punishes the worst rank hardest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hvnas.accuracy.estimator import SCORE, AccuracyEstimator, ScoreEstimate, load_estimator
from hvnas.accuracy.ranks import mean_rank
from hvnas.arch import Arch
from hvnas.ops import Program


@dataclass(frozen=True)
class RankMean:
    """Ranks networks by the mean of the ranks that `parts` give them."""

    unit: ClassVar[str] = SCORE

    name: str
    parts: tuple[AccuracyEstimator, ...]

    @classmethod
    def of(cls, name: str) -> RankMean:
        """The combination of estimators whose names are joined by ``+``.

        Raises ValueError for an unknown name, an empty one, or one that stands there twice.
        """
        names = [part.strip() for part in name.split("+")]
        if not all(names):
            raise ValueError(
                f"estimator: {name!r} has an empty part; write names joined by +: surrogate+zico"
            )
        if len(set(names)) < len(names):
            raise ValueError(f"estimator: {name!r} names one estimator twice; name each once")
        return cls("+".join(names), tuple(load_estimator(part) for part in names))

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> ScoreEstimate:
        """Mean normalised rank of each network among those given. Raises ValueError as the parts do."""
        networks = list(archs_or_programs)
        given = [part.estimate(networks, recipe=recipe, scenario=scenario).mean for part in self.parts]
        return ScoreEstimate.of(mean_rank(given))
