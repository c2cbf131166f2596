"""Fronts, ranks, crowding and hypervolume against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvnas.search.archive import Archive
from hvnas.search.pareto import crowding, front, hypervolume, ranks, thin
from hvnas.testing.strategies import LANDSCAPES, Landscape, ToySpace

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40).map(
    lambda pairs: np.array(pairs, dtype=float).T
)


def dominates(p: np.ndarray, a: int, b: int) -> bool:
    """Whether a is no worse than b in both and better in one, or is an equal point that came first."""
    no_worse = p[0, a] <= p[0, b] and p[1, a] >= p[1, b]
    equal = bool((p[:, a] == p[:, b]).all())
    return bool(no_worse) and (not equal or a < b)


@given(points)
def test_front_is_what_nothing_dominates(p: np.ndarray) -> None:
    n = p.shape[1]
    expected = [b for b in range(n) if not any(dominates(p, a, b) for a in range(n) if a != b)]
    assert sorted(front(p[0], p[1]).tolist()) == expected


@given(points)
def test_ranks_peel_fronts(p: np.ndarray) -> None:
    left = np.arange(p.shape[1])
    expected = np.empty(len(left), dtype=int)
    for rank in range(len(left)):
        if not len(left):
            break
        peeled = front(p[0, left], p[1, left])
        expected[left[peeled]] = rank
        left = np.delete(left, peeled)
    assert ranks(p[0], p[1]).tolist() == expected.tolist()


@given(points)
def test_crowding_as_published(p: np.ndarray) -> None:
    rank = ranks(p[0], p[1])
    distance = crowding(p[0], p[1], rank)
    for r in range(rank.max() + 1):
        members = np.flatnonzero(rank == r)
        members = members[np.argsort(p[0, members])]
        assert np.isinf(distance[members[[0, -1]]]).all()
        for before, here, after in zip(members[:-2], members[1:-1], members[2:], strict=True):
            gaps = [abs(p[i, after] - p[i, before]) / (np.ptp(p[i]) or 1) for i in (0, 1)]
            assert distance[here] == pytest.approx(sum(gaps))


def test_hypervolume_of_a_staircase() -> None:
    ms, top1 = np.array([1.0, 2.0, 3.0, 9.0]), np.array([70.0, 75.0, 74.0, 99.0])
    assert hypervolume(ms, top1, reference=(4.0, 60.0)) == pytest.approx(1 * 10 + 2 * 15)


def test_thinning_keeps_the_ends_and_bounds_the_gaps() -> None:
    rng = np.random.default_rng(0)
    ms, objective = (np.sort(rng.random(5000)) for _ in range(2))
    kept = thin(ms, objective, share=0.05)
    assert kept[0] == 0
    assert kept[-1] == 4999
    assert len(kept) <= 41
    lost = np.setdiff1d(np.arange(5000), kept)
    above = kept[np.searchsorted(kept, lost)]
    assert (ms[above] - ms[lost]).max() < 0.05
    assert (objective[above] - objective[lost]).max() < 0.05
    assert thin(ms[:1], objective[:1], share=0.05).tolist() == [0]
    assert len(thin(ms[:0], objective[:0], share=0.05)) == 0


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=lambda landscape: landscape.name)
def test_archive_of_a_whole_space_is_its_front(landscape: Landscape) -> None:
    small = Landscape(landscape.name, landscape.couplings, landscape.gated, ToySpace(count=6, choices=5))
    problem, rows = small.problem(), small.space.everything()
    assert len(rows) == small.space.size
    archive = Archive(rows.shape[1])
    rng = np.random.default_rng(1)
    for batch in np.array_split(rng.permutation(len(rows)), 17):
        archive.add(rows[batch], problem.evaluate(rows[batch]))
    everything = problem.evaluate(rows)
    feasible = everything.take(everything.feasible)
    kept = front(feasible.ms, feasible.objective)
    assert np.array_equal(archive.evaluations.ms, feasible.ms[kept])
    assert np.array_equal(archive.evaluations.objective, feasible.objective[kept])
    assert archive.evaluated == len(rows)
    found = problem.evaluate(archive.rows)
    assert np.array_equal(found.objective, archive.evaluations.objective)
