"""Fronts, ranks, crowding and hypervolume against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvnas.search.evaluations import Archive
from hvnas.search.pareto import crowding, front, hypervolume, ranks, thin
from hvnas.testing.strategies import LANDSCAPES, Landscape, ToySpace

points = st.integers(1, 4).flatmap(
    lambda k: st.lists(st.tuples(*[st.integers(0, 6)] * k), min_size=1, max_size=40).map(
        lambda rows: np.array(rows, dtype=float)
    )
)


def dominates(p: np.ndarray, a: int, b: int) -> bool:
    """Whether a is nowhere worse than b and better somewhere, or is an equal point that came first."""
    no_worse = (p[a] <= p[b]).all()
    equal = bool((p[a] == p[b]).all())
    return bool(no_worse) and (not equal or a < b)


@given(points)
def test_front_is_what_nothing_dominates(p: np.ndarray) -> None:
    n = len(p)
    expected = [b for b in range(n) if not any(dominates(p, a, b) for a in range(n) if a != b)]
    found = front(p)
    assert sorted(found.tolist()) == expected
    assert (np.diff(p[found, 0]) <= 0).all()


@given(points)
def test_ranks_peel_fronts(p: np.ndarray) -> None:
    left = np.arange(len(p))
    expected = np.empty(len(left), dtype=int)
    for rank in range(len(left)):
        if not len(left):
            break
        peeled = front(p[left])
        expected[left[peeled]] = rank
        left = np.delete(left, peeled)
    assert ranks(p).tolist() == expected.tolist()


@given(points)
def test_crowding_as_published(p: np.ndarray) -> None:
    rank = ranks(p)
    distance = crowding(p, rank)
    for r in range(rank.max() + 1):
        members = np.flatnonzero(rank == r)
        expected = np.zeros(len(members))
        for column, costs in enumerate(p[members].T):
            order = np.argsort(costs, kind="stable")
            expected[order[[0, -1]]] = np.inf
            gaps = costs[order[2:]] - costs[order[:-2]]
            expected[order[1:-1]] += gaps / (np.ptp(p[:, column]) or 1)
        assert np.isinf(distance[members]).sum() == np.isinf(expected).sum()
        assert distance[members] == pytest.approx(expected)


def test_hypervolume_of_a_staircase() -> None:
    costs = np.array([[-70.0, 1.0], [-75.0, 2.0], [-74.0, 3.0], [-99.0, 9.0]])
    assert hypervolume(costs, np.array([-60.0, 4.0])) == pytest.approx(1 * 10 + 2 * 15)


@given(points)
def test_hypervolume_counts_cells(p: np.ndarray) -> None:
    corner = np.full(p.shape[1], 5.0)
    cells = np.stack(np.meshgrid(*[np.arange(5)] * p.shape[1]), axis=-1).reshape(-1, p.shape[1])
    covered = (p[None] <= cells[:, None]).all(axis=2).any(axis=1)
    assert hypervolume(p, corner) == pytest.approx(covered.sum())


def test_thinning_keeps_the_ends_and_bounds_the_gaps() -> None:
    rng = np.random.default_rng(0)
    ms, objective = (np.sort(rng.random(5000)) for _ in range(2))
    costs = np.stack([-objective, ms], axis=1)
    kept = thin(costs, share=0.05)
    assert kept[0] == 0
    assert kept[-1] == 4999
    assert len(kept) <= 41
    lost = np.setdiff1d(np.arange(5000), kept)
    above = kept[np.searchsorted(kept, lost)]
    assert (ms[above] - ms[lost]).max() < 0.05
    assert (objective[above] - objective[lost]).max() < 0.05
    assert thin(costs[:1], share=0.05).tolist() == [0]
    assert len(thin(costs[:0], share=0.05)) == 0


def test_thinning_of_three_costs_keeps_the_best_in_each() -> None:
    costs = np.random.default_rng(1).random((400, 3))
    costs = costs[front(costs)]
    kept = thin(costs, share=0.3)
    assert set(np.argmin(costs, axis=0)) <= set(kept.tolist())
    assert kept[-1] == len(costs) - 1
    extremes = set(np.argmin(costs, axis=0).tolist())
    for place, i in enumerate(kept[:-1]):
        apart = np.abs(costs[kept[place + 1 :]] - costs[i]) >= 0.3 * np.ptp(costs, axis=0)
        assert i in extremes or apart.any(axis=1).all()
    assert len(kept) < len(costs)


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
    kept = front(feasible.costs)
    assert np.array_equal(archive.evaluations.ms, feasible.ms[kept])
    assert np.array_equal(archive.evaluations.objective, feasible.objective[kept])
    assert archive.evaluated == len(rows)
    found = problem.evaluate(archive.rows)
    assert np.array_equal(found.objective, archive.evaluations.objective)
