"""What keeps a search from better networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from hvnas.arch import load_arch
from hvnas.search.evaluations import Archive
from hvnas.search.limits import Limit, find_limit
from hvnas.search.making import make_problem
from hvnas.search.problem import Problem
from hvnas.search.reach import Reach, find_reach


def problem_of(constraints: Sequence[str] = (), *, budget_ms: float = 2.0, margin: float = 0.0) -> Problem:
    return make_problem(
        "efficientformer",
        "iphone12",
        "surrogate",
        budget_ms=budget_ms,
        margin=margin,
        constraints=constraints,
    )


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return problem_of().space.sample(200, rng=np.random.default_rng(0), macs=(0.05e9, 8e9))


def limit_of(problem: Problem, rows: np.ndarray, *, max_ms: float = 100.0) -> tuple[Limit, Archive]:
    archive = Archive(len(problem.space.genes))
    archive.add(rows, problem.evaluate(rows))
    reach = Reach(0.5, max_ms, rows[0], rows[0], empty=False, excluded={})
    return find_limit(problem, reach, archive, best=len(archive) - 1), archive


def slowest(rows: np.ndarray) -> float:
    """Of the front without a budget."""
    return float(limit_of(problem_of(budget_ms=1000.0), rows)[1].evaluations.ms.max())


@pytest.mark.parametrize(("room", "on"), [(1.0, True), (1.02, True), (1.05, False)])
@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_the_budget_counts_with_its_margin(rows: np.ndarray, room: float, on: bool, margin: float) -> None:
    budget = slowest(rows) * (1 + margin) * room * (1 + 1e-9)
    limit, archive = limit_of(problem_of(budget_ms=budget, margin=margin), rows)
    assert limit.best == limit.slowest == (("budget",) if on else ())
    ms = float(archive.evaluations.ms[-1]) * (1 + margin)
    said = f"the budget ({ms:.3f} of {budget:g} ms{', margin included' if margin else ''})"
    assert limit.text.startswith(said if on else f"none, the best network is clear of {said}")


def test_where_the_space_ends_the_budget_is_no_limit(rows: np.ndarray) -> None:
    most = slowest(rows)
    limit, _ = limit_of(problem_of(budget_ms=1.01 * most), rows, max_ms=most)
    assert limit.best == ("space",)
    assert limit.text.startswith(f"the slowest network within reach ({most:.3f} of {most:.3f} ms)")


def test_a_reach_that_the_search_passed_ends_no_space(rows: np.ndarray) -> None:
    most = slowest(rows)
    limit, _ = limit_of(problem_of(budget_ms=2 * most), rows, max_ms=0.9 * most)
    assert limit.best == ()


def test_the_size_of_the_space_is_a_limit_from_some_latency_on(
    rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of(budget_ms=1000.0)
    _, archive = limit_of(problem, rows)
    macs, ms = archive.evaluations.macs, archive.evaluations.ms
    most = float(np.sort(macs)[-3]) / 0.98
    monkeypatch.setattr(type(problem.space), "limits", {"macs": most, "params": 1e12})
    reach = Reach(0.5, 100.0, rows[0], rows[0], empty=False, excluded={})
    limit = find_limit(problem, reach, archive, best=int(np.argmax(macs)))
    since = ms[ms > ms[macs < 0.97 * most].max()].min()
    assert limit.best == ("macs",)
    assert f"the MACs of efficientformer ({macs.max() / 1e9:.3f} of {most / 1e9:g} G" in limit.text
    assert (f"as all from {since:.3f} ms on" in limit.text) == (since < ms[np.argmax(macs)])


def test_a_rule_of_the_gate_on_a_size_is_a_limit(rows: np.ndarray) -> None:
    from hvnas.latency import Device, Rule

    problem = problem_of(budget_ms=1000.0)
    assert isinstance(problem.device, Device)
    best = float(limit_of(problem, rows)[1].evaluations.macs[-1])
    rule = Rule("size", "macs", "{value} MACs", "made up for this test", above=1.01 * best)
    device = dataclasses.replace(problem.device, rules=(*problem.device.rules, rule))
    limit, archive = limit_of(dataclasses.replace(problem, device=device), rows)
    assert archive.evaluations.macs.max() <= rule.most
    assert limit.best == ("macs",)
    assert f"the MACs of the gate of iphone12 ({best / 1e9:.3f} of " in limit.text


def test_constraints_are_limits_by_their_text(rows: np.ndarray) -> None:
    _, archive = limit_of(problem_of(budget_ms=1000.0), rows)
    params = int(archive.evaluations.params[-1])
    bound = round(1.01 * params)
    limit, _ = limit_of(problem_of([f"params<={bound}", "macs>=1000"], budget_ms=1000.0), rows)
    assert limit.best == (f"params<={bound}",)
    assert limit.text.startswith(f"params<={bound} ({params:,}")


def test_a_bound_on_accuracy_is_one_within_half_a_point(rows: np.ndarray) -> None:
    _, archive = limit_of(problem_of(budget_ms=1000.0), rows)
    best = float(archive.evaluations.objective[-1])
    for bound, on in ((best - 0.4, True), (best - 0.6, False)):
        limit, _ = limit_of(problem_of([f"top1>={bound}"], budget_ms=1000.0), rows)
        assert (f"top1>={bound:.15g}" in limit.best) == on


def test_the_floor_is_what_any_network_takes() -> None:
    problem = make_problem("hybrid-mobile", "iphone12", "surrogate", budget_ms=1000.0)
    rows = np.stack([find_reach(problem).min_row, problem.space.encode(load_arch("efficientformer_l1"))])
    limit, archive = limit_of(problem, rows)
    fastest = float(archive.evaluations.ms.min())
    assert limit.fastest == ("floor",)
    said = f"the floor of iphone12 (any network takes 0.414 of its {fastest:.3f} ms)"
    assert limit.text.endswith(f"; at the fast end {said}")
