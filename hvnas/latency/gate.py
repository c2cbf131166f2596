"""Rules that say which networks a device's model speaks for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvnas.latency.columns import column


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason for which a network lies outside: a column above a limit.

    Exactly one of `above` (value > limit excludes) and `at_least` (value >= limit excludes) is set.
    `says` is the sentence shown, with ``{value}`` for the network's value; `evidence` tells what
    published measurement the rule rests on.
    """

    name: str
    column: str
    says: str
    evidence: str
    above: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        column(self.column)
        if (self.above is None) == (self.at_least is None):
            raise ValueError("give exactly one of above and at_least")
        if not self.evidence.strip():
            raise ValueError("evidence is empty; say which measurement the rule rests on")

    @property
    def most(self) -> float:
        """The limit: values above it lie outside, and where it is `at_least` the limit itself does too."""
        limit = self.above if self.at_least is None else self.at_least
        return math.inf if limit is None else limit

    def excludes(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the column's `values` lie outside."""
        return values > self.most if self.at_least is None else values >= self.most

    def reason(self, value: float) -> str:
        """The sentence for one network."""
        return self.says.replace("{value}", f"{value:g}")
