"""The reach of a space, and budgets that nothing meets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy

from hvnas.latency import LatencyArrays
from hvnas.search.problem import Problem
from hvnas.search.reach import InfeasibleBudget, check_budget, find_reach, widened, with_widest_budget
from hvnas.search.run import execute
from hvnas.search.runs.folder import SearchFolder
from hvnas.testing.strategies import LANDSCAPES, Landscape, ToyDevice, ToySpace


class ClosedDevice(ToyDevice):
    """Everything lies outside: what is slow by one rule, all by another."""

    def latency_columns(self, values: np.ndarray) -> LatencyArrays:
        ms = values[:, 0]
        rules = {"slow": ms > np.median(ms), "everything": np.ones(len(ms), dtype=bool)}
        return LatencyArrays(ms, ms, ms, np.zeros(len(ms), dtype=bool), rules)


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=lambda landscape: landscape.name)
def test_reach_is_that_of_the_whole_space(landscape: Landscape) -> None:
    landscape = replace(landscape, space=ToySpace(count=6))
    problem = landscape.problem()
    ms = landscape.features(landscape.space.everything())[:, 0]
    if landscape.gated:
        ms = ms[(ms * 10) % 1 < 0.5]
    reach = find_reach(problem)
    assert not reach.empty
    assert reach.min_ms == pytest.approx(ms.min(), abs=1e-8)
    assert reach.max_ms == pytest.approx(ms.max(), rel=1e-2)
    assert problem.evaluate(reach.min_row[None]).ms[0] == reach.min_ms


def test_known_architectures_widen_the_reach() -> None:
    problem = LANDSCAPES[2].problem()
    everything = problem.space.everything()[::31]
    found = problem.evaluate(everything)
    inside = found.ms[found.inside]
    narrow = replace(find_reach(problem), min_ms=1.0, max_ms=1.1)
    wide = widened(narrow, problem, everything)
    assert (wide.min_ms, wide.max_ms) == (inside.min(), inside.max())
    for row, ms in ((wide.min_row, wide.min_ms), (wide.max_row, wide.max_ms)):
        assert problem.evaluate(row[None]).ms[0] == ms
    assert widened(narrow, problem, everything[:0]) is narrow


def test_the_widest_budget_is_what_the_slowest_needs() -> None:
    problem = replace(LANDSCAPES[0].problem(), budget_ms=0.1, margin=0.05)
    needed = find_reach(problem).max_ms * 1.05
    assert needed <= with_widest_budget(problem)[0].budget_ms < 1.01 * needed


def test_budget_below_the_minimum() -> None:
    problem = replace(LANDSCAPES[0].problem(), budget_ms=0.1, margin=0.05)
    reach = find_reach(problem)
    with pytest.raises(InfeasibleBudget, match=f"smallest latency found is {reach.min_ms:.3f} ms") as error:
        check_budget(problem, reach)
    assert error.value.smallest_ms == reach.min_ms
    assert error.value.arch == problem.space.decode(reach.min_row)
    assert error.value.rule is None


def test_margin_counts() -> None:
    problem = LANDSCAPES[0].problem()
    reach = find_reach(problem)
    check_budget(replace(problem, budget_ms=reach.min_ms * 1.0999, margin=0.0999), reach)
    with pytest.raises(InfeasibleBudget):
        check_budget(replace(problem, budget_ms=reach.min_ms * 1.0999, margin=0.11), reach)


def test_nothing_inside_names_the_rule_and_the_flag() -> None:
    problem = replace(LANDSCAPES[0].problem(), device=ClosedDevice())
    with pytest.raises(InfeasibleBudget, match=r"'everything' excludes most .100%.*--outside allow") as error:
        check_budget(problem, find_reach(problem))
    assert error.value.rule == "everything"
    allowed = replace(problem, outside="allow")
    check_budget(allowed, find_reach(allowed))


def test_infeasible_budget_writes_nothing(tmp_path: Path) -> None:
    problem = replace(toy.LANDSCAPE.problem(), budget_ms=0.1)
    with pytest.raises(InfeasibleBudget):
        execute(problem, toy.config(), folder=SearchFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("budget_ms", float("nan")),
        ("budget_ms", 0.0),
        ("budget_ms", float("inf")),
        ("margin", -0.1),
        ("margin", float("nan")),
        ("outside", "perhaps"),
    ],
)
def test_bad_numbers_name_their_field(field: str, value: object) -> None:
    good = LANDSCAPES[0].problem()
    with pytest.raises(ValueError, match=f"^{field}: must be"):
        Problem(
            **{**{f: getattr(good, f) for f in ("space", "device", "estimator", "budget_ms")}, field: value}
        )
