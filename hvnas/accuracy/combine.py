"""Several estimators as one, by the ranks that they give.

Points of top-1, logarithms of determinants and counts have no common scale, ranks have. `RankMean` ranks the
networks that it is asked about together: the score of a network is the mean of its normalised ranks
(`hvnas.accuracy.ranks`), in (0, 1). It depends on the company: scores of two calls do not compare, and the
score of a single network is always 0.5.

A search compares networks that it met at different times. `RankMean.against` gives it an estimator whose
scores do compare: each part's value is placed among the values that a fixed set of reference networks has
there, and the score is the mean of the positions. It does not stand still beyond the references: what all
parts put above the best of them scores above it.

AZ-NAS (2403.19232, section 3) sums logarithms of ranks instead, which punishes the worst rank hardest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from hvnas.accuracy.estimator import (
    SCORE,
    AccuracyEstimator,
    Array,
    ColumnEstimator,
    ImageSize,
    ScoreEstimate,
)
from hvnas.accuracy.loading import load_estimator
from hvnas.accuracy.ranks import RankScale, mean_rank
from hvnas.arch import Arch
from hvnas.ops import Column, Program


@dataclass(frozen=True)
class RankMean(AccuracyEstimator):
    """Ranks networks by the mean of the ranks that `parts` give them."""

    unit: ClassVar[str] = SCORE

    name: str
    parts: tuple[AccuracyEstimator, ...]

    @property
    def image_size(self) -> ImageSize | None:
        """The one size that parts put networks to, None where none does.

        Raises ValueError where two differ.
        """
        return _common_size(self.name, self.parts)

    @property
    def relative(self) -> bool:
        """Always: a rank is one among the networks of a call."""
        return True

    def label(self) -> str:
        """Return the names of its parts, joined by ``+``."""
        return self.name

    @classmethod
    def of(cls, name: str) -> RankMean:
        """The combination of estimators whose names are joined by ``+``.

        Raises ValueError for an unknown name, an empty one, or one that is listed twice.
        """
        names = [part.strip() for part in name.split("+")]
        if not all(names):
            raise ValueError(
                f"estimator: {name!r} has an empty part; write names joined by +: surrogate+zico"
            )
        if len(set(names)) < len(names):
            raise ValueError(f"estimator: {name!r} lists one estimator twice; list it once")
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

    def against(self, references: Sequence[Arch]) -> ReferencedRanks:
        """The combination whose scores are positions among `references`, comparable between calls.

        It reads columns where all parts do, of one head, and is then as cheap as they are.
        Raises ValueError without references.
        """
        if not len(references):
            raise ValueError(
                f"estimator: {self.name}: there are no references; give 64 networks of the space"
            )
        readers = tuple(part for part in self.parts if isinstance(part, ColumnEstimator))
        # Columns are those of one network: parts that read it with different heads are given it whole.
        heads = {reader.read_classes or arch.head.out for reader in readers for arch in references}
        if len(readers) == len(self.parts) and len(heads) == 1:
            return ReferencedColumnRanks(self.name, self.parts, tuple(references), readers)
        return ReferencedRanks(self.name, self.parts, tuple(references))


@dataclass(frozen=True)
class ReferencedRanks(AccuracyEstimator):
    """Scores networks by the mean of their positions among `references`, one position per part.

    The score grows with every part's value, also beyond the references (`hvnas.accuracy.ranks.RankScale`);
    it is -inf where a part has none. The references are estimated once per recipe and scenario.
    """

    unit: ClassVar[str] = SCORE

    name: str
    parts: tuple[AccuracyEstimator, ...]
    references: tuple[Arch, ...] = field(repr=False)
    _scales: dict[tuple[str, str], tuple[RankScale, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def image_size(self) -> ImageSize | None:
        """The one size that parts put networks to, None where none does.

        Raises ValueError where two differ.
        """
        return _common_size(self.name, self.parts)

    def label(self) -> str:
        """Return the names of its parts, joined by ``+``."""
        return self.name

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> ScoreEstimate:
        """The score of each network. Raises ValueError as the parts do."""
        networks = list(archs_or_programs)
        scores = [part.estimate(networks, recipe=recipe, scenario=scenario).mean for part in self.parts]
        return self._combined(scores, recipe, scenario)

    def _combined(self, scores: Sequence[Array], recipe: str, scenario: str) -> ScoreEstimate:
        scales = self._scales_of(recipe, scenario)
        positions = [scale(score) for scale, score in zip(scales, scores, strict=True)]
        return ScoreEstimate.of(np.mean(positions, axis=0))

    def _scales_of(self, recipe: str, scenario: str) -> tuple[RankScale, ...]:
        if (recipe, scenario) not in self._scales:
            self._scales[recipe, scenario] = tuple(
                RankScale.of(part.estimate(self.references, recipe=recipe, scenario=scenario).mean, name=name)
                for name, part in zip(self.name.split("+"), self.parts, strict=True)
            )
        return self._scales[recipe, scenario]


@dataclass(frozen=True)
class ReferencedColumnRanks(ReferencedRanks, ColumnEstimator):
    """`ReferencedRanks` of parts that all read columns: serves whole populations."""

    readers: tuple[ColumnEstimator, ...]  # `parts`

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every part's columns, once each."""
        return tuple(dict.fromkeys(column for part in self.readers for column in part.columns))

    @property
    def read_classes(self) -> int:
        """The classes of the head that all parts read networks with: that of the references."""
        stated = (part.read_classes for part in self.readers)
        return next(filter(None, stated), self.references[0].head.out)

    def estimate_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> ScoreEstimate:
        """The score of each network from column values ``[n, len(columns)]``."""
        place = {column: i for i, column in enumerate(self.columns)}

        scores = [
            part.estimate_columns(
                values[:, [place[column] for column in part.columns]], recipe=recipe, scenario=scenario
            ).mean
            for part in self.readers
        ]
        return self._combined(scores, recipe, scenario)


def _common_size(name: str, parts: Sequence[AccuracyEstimator]) -> ImageSize | None:
    sizes = dict.fromkeys(size for part in parts if (size := part.image_size) is not None)
    if len(sizes) > 1:
        raise ValueError(
            f"estimator: {name}: its parts score networks at {' and at '.join(map(str, sizes))}; "
            "a search speaks of one network: combine estimators of one resolution and as many classes"
        )
    return next(iter(sizes), None)
