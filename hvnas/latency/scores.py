"""How far predicted latencies lie from measured ones: in the terms that every report uses, and as the
distribution of an error that intervals and chances come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
WITHIN = (5, 10, 20)
# Beyond these an interval has no end that a number can hold.
LEAST_DF, MOST_LOC, MOST_SCALE = 0.5, 50.0, 5.0


def scores(predicted: ArrayLike, measured: ArrayLike) -> dict[str, Any]:
    """Errors in percent of the measured time, and rank correlations.

    `predicted` and `measured` are milliseconds [n]. The keys: `n`; `mape` (mean absolute error); `bias`
    (median signed error, above 0 where predictions are too long); `median` and `p90` of the absolute error;
    `rmspe` (root of the mean squared error); `within_5`, `within_10` and `within_20` (share of networks in
    percent); `spearman` and `kendall_tau`, None where nothing can be ranked: fewer than two networks, or all
    alike. Raises ValueError where the two do not match, are empty, or hold anything but times > 0.
    """
    ms, true = _times(predicted, "predicted"), _times(measured, "measured")
    if ms.shape != true.shape:
        raise ValueError(f"{len(ms)} predicted times for {len(true)} measured ones; give one for each")
    error = 100 * (ms - true) / true
    off = np.abs(error)
    # A difference like 1.1 - 1.0 is a hair off in floating point; ten per cent are within ten.
    shares = {f"within_{k}": round(float(100 * np.mean(off <= k + 1e-9)), 1) for k in WITHIN}
    return {
        "n": len(true),
        "mape": round(float(off.mean()), 2),
        "bias": round(float(np.median(error)), 2),
        "median": round(float(np.median(off)), 2),
        "p90": round(float(np.quantile(off, 0.9)), 2),
        "rmspe": round(float(np.sqrt(np.mean(off**2))), 2),
        **shares,
        **_ranks(ms, true),
    }


def _times(values: ArrayLike, what: str) -> Floats:
    times = np.asarray(values, dtype=float)
    if times.ndim != 1 or not len(times):
        raise ValueError(f"{what} times must be a list of at least one number, got the shape {times.shape}")
    if not (np.isfinite(times) & (times > 0)).all():
        raise ValueError(f"{what} times must be finite numbers of milliseconds > 0")
    return times


def _ranks(predicted: Floats, measured: Floats) -> dict[str, float | None]:
    if min(len(np.unique(predicted)), len(np.unique(measured))) < 2:
        return {"spearman": None, "kendall_tau": None}
    from scipy.stats import kendalltau, spearmanr

    return {
        "spearman": round(float(spearmanr(predicted, measured).statistic), 3),
        "kendall_tau": round(float(kendalltau(predicted, measured).statistic), 3),
    }


@dataclass(frozen=True, slots=True)
class StudentT:
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
        return float(self.factors(probability))

    def factors(self, probability: float, more: ArrayLike = 0.0) -> NDArray[np.float64]:
        """The same where e has a further error with the scale `more`, of another cause. Shape of `more`."""
        scale = np.hypot(self.scale, more)
        quantiles: NDArray[np.float64] = np.exp(self.loc + scale * student_quantile(self.df, probability))
        return quantiles

    def chance(self, ratio: ArrayLike, *, more: ArrayLike = 0.0) -> NDArray[np.float64]:
        """Probability that measured / predicted is at most `ratio` (> 0); `more` as of `factors`."""
        return student_chance(self.df, (np.log(ratio) - self.loc) / np.hypot(self.scale, more))


# More than any machine there is, and a factor of e for every factor of e.
MOST_MACS_PER_MS, MOST_GROWTH = 1e15, 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the fastest measured network computed, and how the error grows beyond that.

    `macs_per_ms` is of networks in the gate. A network predicted to be faster by a factor r has a further
    error whose scale is `growth` ln r.
    """

    macs_per_ms: float
    growth: float

    def __post_init__(self) -> None:
        for name, most in (("macs_per_ms", MOST_MACS_PER_MS), ("growth", MOST_GROWTH)):
            value = getattr(self, name)
            if not 0 < value <= most:
                raise ValueError(f"{name} must be > 0 and at most {most:g}, got {value}")

    def spread(self, macs: ArrayLike, ms: ArrayLike) -> NDArray[np.float64]:
        """The scale of the further error of networks of `macs` predicted to take `ms`; 0 up to the pace."""
        faster = np.asarray(macs, dtype=float) / (np.asarray(ms, dtype=float) * self.macs_per_ms)
        spread: NDArray[np.float64] = self.growth * np.log(np.maximum(faster, 1.0))
        return spread


# Loading scipy.special for these two would take an eighth of a short search.
# Of the search for a quantile: 200 halvings, so many at once.
_LEVELS, _ROUNDS = 5, 40


@lru_cache(maxsize=256)
def student_quantile(df: float, probability: float) -> float:
    """The quantile of a Student t with `df` degrees of freedom. -inf and inf at probabilities 0 and 1."""
    if not 0 < probability < 1:
        return math.copysign(math.inf, probability - 0.5) if probability in (0, 1) else math.nan
    if probability < 0.5:
        return -student_quantile(df, 1 - probability)
    low, high = 0.0, 1.0
    while student_chance(df, high) < probability and high < 1e300:
        low, high = high, 2 * high
    for _ in range(_ROUNDS):
        middles = _middles(low, high)
        below, k = (student_chance(df, middles) < probability).tolist(), 0
        while k < len(middles):
            if middles[k] in (low, high):
                return high
            low, high = (middles[k], high) if below[k] else (low, middles[k])
            k = 2 * k + (2 if below[k] else 1)
    return high


def _middles(low: float, high: float) -> list[float]:
    """The middle of an interval, those of its halves, of theirs, and so on: a call for all costs as a call
    for one."""
    ends, middles = [(low, high)], []
    for k in range(2**_LEVELS - 1):
        left, right = ends[k]
        middles.append((left + right) / 2)
        ends += [(left, middles[k]), (middles[k], right)]
    return middles


def student_chance(df: float, t: ArrayLike) -> NDArray[np.float64]:
    """Probability that a Student t with `df` degrees of freedom is at most `t`. Shape of `t`.

    By the incomplete beta function (Abramowitz and Stegun 1964, 26.7.1).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        square = np.square(np.asarray(t, dtype=float))
        far = np.isinf(square)
        near, rest = np.where(far, 0.0, df / (df + square)), np.where(far, 1.0, square / (df + square))
        tail = 0.5 * _incomplete_beta(df / 2, 0.5, near, rest)
    return np.where(np.asarray(t) > 0, 1 - tail, tail)


def _incomplete_beta(a: float, b: float, x: NDArray[np.float64], rest: NDArray[np.float64]) -> Any:
    """The regularised incomplete beta function at `x`; `rest` is 1 - x, known better than that."""
    with np.errstate(divide="ignore"):
        logarithm = a * np.log(x) + b * np.log(rest)
    front = np.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + logarithm)
    small = x < (a + 1) / (a + b + 2)
    swapped = 1 - front * _beta_fraction(b, a, np.where(small, 0.0, rest)) / b
    return np.where(small, front * _beta_fraction(a, b, np.where(small, x, 0.0)) / a, swapped)


def _beta_fraction(a: float, b: float, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The continued fraction of the incomplete beta function, by Lentz's method (26.5.8 there)."""
    c = np.ones_like(x)
    d = 1 / (1 - (a + b) * x / (a + 1))
    found, done = d.copy(), np.zeros(np.shape(x), dtype=np.bool_)
    for m in range(1, 10_000):
        following = found
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + step * d)
            c = 1 + step / c
            following = following * c * d
        # As near as double precision comes: the last bit may go on changing. Each is done by itself, so that
        # it is the same whatever others are asked for.
        near = np.abs(following - found) <= 1e-15 * np.abs(following)
        found = np.where(done, found, following)
        done |= near
        if done.all():
            break
    return found


def fit_student_t(e: NDArray[np.float64], *, families: int) -> StudentT:
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
    return StudentT(float(df), float(loc), float(scale))
