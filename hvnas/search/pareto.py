"""Fronts, ranks, crowding and hypervolume of points with k costs, all of them minimised.

Points are rows of a float array [n, k]. Two costs, the common case, are handled by sorting; more by
comparing pairs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hvnas.search.rows import Bools, Floats

Indices = NDArray[np.intp]

# Pairs of points are compared in blocks of this many, which bounds the memory.
_BLOCK = 512


def front(costs: Floats) -> Indices:
    """Indices of the non-dominated points, the first cost falling, so that the best is last.

    Of equal points the first stays. O(n) for one cost, O(n log n) for two, O(n times front) for more.
    """
    if costs.shape[0] == 0:
        return np.empty(0, dtype=np.intp)
    if costs.shape[1] == 1:
        return np.array([np.argmin(costs[:, 0])], dtype=np.intp)
    if costs.shape[1] == 2:
        return _front_of_two(costs)
    order = _lexicographic(costs)
    kept: Indices = np.empty(0, dtype=np.intp)
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        block = block[~dominated(costs[block], by=costs[kept])]
        # Sorted, no point is dominated by a later one, and of equal points the first comes first.
        earlier = np.triu(_dominates(costs[block], costs[block]), 1)
        kept = np.concatenate([kept, block[~earlier.any(axis=0)]])
    return kept[::-1]


def _front_of_two(costs: Floats) -> Indices:
    order = np.lexsort((costs[:, 0], costs[:, 1]))
    first = costs[order, 0]
    best_before = np.minimum.accumulate(np.concatenate(([np.inf], first[:-1])))
    return order[first < best_before]


def _lexicographic(costs: Floats) -> Indices:
    return np.lexsort(tuple(costs[:, i] for i in range(costs.shape[1] - 1, -1, -1)))


def _dominates(a: Floats, b: Floats) -> Bools:
    """Where a point of `a` is nowhere worse than one of `b`. Shape [len(a), len(b)]."""
    return np.asarray((a[:, None, :] <= b[None, :, :]).all(axis=2))


def dominated(costs: Floats, *, by: Floats) -> Bools:
    """Where a point is dominated by, or equal to, one of `by`. Shape [n]."""
    found = np.zeros(len(costs), dtype=np.bool_)
    for start in range(0, len(by), _BLOCK):
        left = np.flatnonzero(~found)
        found[left] = _dominates(by[start : start + _BLOCK], costs[left]).any(axis=0)
    return found


def ranks(costs: Floats) -> Indices:
    """The front each point is on, 0 the best. A repeat of a point counts as dominated by it."""
    if costs.shape[0] and costs.shape[1] == 2:
        return _ranks_of_two(costs)
    found = np.empty(len(costs), dtype=np.intp)
    if costs.shape[0] and costs.shape[1] == 1:
        # A front of one cost is a single point.
        found[np.argsort(costs[:, 0], kind="stable")] = np.arange(len(costs))
        return found
    left = np.arange(len(costs))
    rank = 0
    while len(left):
        here = front(costs[left])
        found[left[here]] = rank
        left = np.delete(left, here)
        rank += 1
    return found


def _ranks_of_two(costs: Floats) -> Indices:
    """Sorted by one cost, a point belongs to the first front whose best other cost so far is above its own.

    Those bests rise from front to front, so a binary search finds it (Jensen 2003, "Reducing the run-time
    complexity of multiobjective EAs"). O(n log n).
    """
    order = np.lexsort((costs[:, 0], costs[:, 1]))
    ends: list[float] = []  # the least first cost on each front so far, ascending
    found = np.empty(len(costs), dtype=np.intp)
    for index, cost in zip(order.tolist(), costs[order, 0].tolist(), strict=True):
        rank = bisect_right(ends, cost)
        if rank == len(ends):
            ends.append(cost)
        else:
            ends[rank] = cost
        found[index] = rank
    return found


def crowding(costs: Floats, rank: Indices) -> Floats:
    """Crowding distance of each point on its front; inf at the ends (NSGA-II, Deb et al. 2002, III-B)."""
    distance = np.zeros(len(costs))
    ends = np.zeros(len(costs), dtype=np.bool_)
    if len(costs) == 0:
        return distance
    for i, values in enumerate(costs.T):
        # On a front of two costs the one rises where the other falls: one order serves both.
        if i == 0 or costs.shape[1] > 2:
            order = np.lexsort((values, rank))
            first = np.ones(len(costs), dtype=np.bool_)
            first[1:] = rank[order][1:] != rank[order][:-1]
            outer = first | np.roll(first, -1)
            ends[order[outer]] = True
        in_order = values[order]
        spread = float(np.ptp(values)) or 1.0
        gap = np.abs(np.roll(in_order, -1) - np.roll(in_order, 1)) / spread
        distance[order[~outer]] += gap[~outer]
    distance[ends] = np.inf
    return distance


def thin(costs: Floats, *, share: float, always: Sequence[int] = ()) -> Indices:
    """Indices of a readable part of a front that `front` has ordered, in that order.

    From the best downwards a member stays where in some cost it is at least `share` of the front's extent
    away from every one that stayed; the best in each cost, and those at `always`, do in any case. Of two
    costs at most about ``2 / share`` stay.
    """
    if len(costs) == 0:
        return np.empty(0, dtype=np.intp)
    scaled = costs / (share * np.where(np.ptp(costs, axis=0) > 0, np.ptp(costs, axis=0), np.inf))
    extremes = {*np.argmin(costs, axis=0).tolist(), *always}
    kept = [len(costs) - 1]
    for i in range(len(costs) - 2, -1, -1):
        # Along a front of two costs the nearest that stayed is the last.
        near = scaled[kept[-1:]] if costs.shape[1] == 2 else scaled[kept]
        if i in extremes or (np.abs(near - scaled[i]) >= 1).any(axis=1).all():
            kept.append(i)
    return np.array(kept[::-1], dtype=np.intp)


def hypervolume(costs: Floats, reference: Floats) -> float:
    """Volume between the points and `reference` [k], in the product of the costs' units.

    By slices along the last cost (While, Hingston, Barone, Huband 2006, "A faster algorithm for calculating
    hypervolume"), down to two costs, where sorting does.
    """
    costs = costs[(costs < reference).all(axis=1)]
    if len(costs) == 0:
        return 0.0
    if len(reference) == 1:
        return float(reference[0] - costs.min())
    kept = costs[front(costs)]
    if len(reference) == 2:
        widths = np.diff(np.append(kept[:, 1], reference[1]))
        return float(np.sum(widths * (reference[0] - kept[:, 0])))
    kept = kept[np.argsort(kept[:, -1], kind="stable")]
    heights = np.diff(np.append(kept[:, -1], reference[-1]))
    slices = (hypervolume(kept[: i + 1, :-1], reference[:-1]) for i in range(len(kept)))
    return float(sum(h * area for h, area in zip(heights, slices, strict=True) if h > 0))
