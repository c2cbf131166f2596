"""How far measured latency lies from predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LOW, HIGH = 0.05, 0.95
# Beyond these an interval has no end that a number can hold.
LEAST_DF, MOST_LOC, MOST_SCALE = 0.5, 50.0, 5.0


@dataclass(frozen=True, slots=True)
class Student:
    """A Student t of e = ln(measured / predicted), family left out."""

    df: float
    loc: float
    scale: float

    def __post_init__(self) -> None:
        if not (self.df > 0 and self.scale > 0 and np.isfinite([self.df, self.loc, self.scale]).all()):
            raise ValueError(f"a Student t needs finite df > 0, loc, scale > 0, got {self}")
        if self.df < LEAST_DF or abs(self.loc) > MOST_LOC or self.scale > MOST_SCALE:
            raise ValueError(
                f"a Student t of latencies has df >= {LEAST_DF:g}, loc from -{MOST_LOC:g} to {MOST_LOC:g} "
                f"and scale up to {MOST_SCALE:g}, got {self}"
            )

    def factor(self, probability: float) -> float:
        """measured / predicted at a quantile of e."""
        from scipy.special import stdtrit

        return float(np.exp(self.loc + self.scale * stdtrit(self.df, probability)))

    def chance(self, ratio: ArrayLike) -> NDArray[np.float64]:
        """Probability that measured / predicted is at most `ratio` (> 0)."""
        from scipy.special import stdtr

        return np.asarray(stdtr(self.df, (np.log(ratio) - self.loc) / self.scale), dtype=float)


def fit_student(e: NDArray[np.float64], *, families: int) -> Student:
    """The t that fits `e` best, with at most ``families - 1`` degrees of freedom.

    Maximum likelihood (scipy.stats.t.fit). Errors within a family go together, so that the number of
    families, not of networks, bounds what is known of the tails; where the likelihood would have
    lighter ones, df is set to the bound and loc and scale are fitted again.
    """
    from scipy import stats

    bound = max(1, families - 1)
    df, loc, scale = stats.t.fit(e)
    if not 1 <= df <= bound:
        df, loc, scale = stats.t.fit(e, f0=bound if df > bound else 1)
    return Student(float(df), float(loc), float(scale))
