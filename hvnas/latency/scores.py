"""How far predicted latencies lie from measured ones, in the terms that every report uses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
WITHIN = (5, 10, 20)


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
