"""Two objectives, latency to minimise and top-1 to maximise: fronts, ranks, crowding, hypervolume."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from hvnas.search.seams import Floats

Indices = NDArray[np.intp]


def front(ms: Floats, objective: Floats) -> Indices:
    """Indices of the non-dominated points, latency ascending; of equal points the first. O(n log n)."""
    order = np.lexsort((-objective, ms))
    sorted_objective = objective[order]
    best_before = np.maximum.accumulate(np.concatenate(([-np.inf], sorted_objective[:-1])))
    return order[sorted_objective > best_before]


def ranks(ms: Floats, objective: Floats) -> Indices:
    """The front each point is on, 0 the best. A repeat of a point counts as dominated by it.

    Sorted by latency, a point belongs to the first front whose best top-1 so far is lower than its own;
    those bests fall from front to front, so a binary search finds it (Jensen 2003, "Reducing the run-time
    complexity of multiobjective EAs"). O(n log n).
    """
    order = np.lexsort((-objective, ms))
    ends: list[float] = []  # minus the best top-1 on each front so far, ascending
    found = np.empty(len(ms), dtype=np.intp)
    for index, cost in zip(order.tolist(), (-objective[order]).tolist(), strict=True):
        rank = bisect_right(ends, cost)
        if rank == len(ends):
            ends.append(cost)
        else:
            ends[rank] = cost
        found[index] = rank
    return found


def crowding(ms: Floats, objective: Floats, rank: Indices) -> Floats:
    """Crowding distance of each point on its front; inf at the ends (NSGA-II, Deb et al. 2002, III-B)."""
    distance = np.zeros(len(ms))
    if len(ms) == 0:
        return distance
    order = np.lexsort((ms, rank))
    starts = np.ones(len(ms), dtype=np.bool_)
    starts[1:] = rank[order][1:] != rank[order][:-1]
    ends = np.roll(starts, -1)
    inner = ~(starts | ends)
    for values in (ms, objective):
        in_order = values[order]
        spread = float(np.ptp(values)) or 1.0
        gap = np.abs(np.roll(in_order, -1) - np.roll(in_order, 1)) / spread
        distance[order[inner]] += gap[inner]
    distance[order[~inner]] = np.inf
    return distance


def thin(ms: Floats, objective: Floats, *, share: float) -> Indices:
    """Indices of a readable part of a front (both arrays ascending).

    From the best downwards a member stays where it is at least `share` of the front's extent away from the
    last that stayed, in latency or in top-1; so at most about ``2 / share`` stay. The fastest always does.
    """
    if len(ms) == 0:
        return np.empty(0, dtype=np.intp)
    kept = [len(ms) - 1]
    for i in range(len(ms) - 2, -1, -1):
        near = ms[kept[-1]] - ms[i] < share * np.ptp(ms)
        if i == 0 or not (near and objective[kept[-1]] - objective[i] < share * np.ptp(objective)):
            kept.append(i)
    return np.array(kept[::-1], dtype=np.intp)


def hypervolume(ms: Floats, objective: Floats, *, reference: tuple[float, float]) -> float:
    """Area dominated by the points up to `reference` = (latency in ms, top-1 in points); in ms x points."""
    keep = (ms < reference[0]) & (objective > reference[1])
    ms, objective = ms[keep], objective[keep]
    kept = front(ms, objective)
    widths = np.diff(np.append(ms[kept], reference[0]))
    return float(np.sum(widths * (objective[kept] - reference[1])))
