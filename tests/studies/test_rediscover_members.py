"""members: the networks that may be the best, and slimming by an estimate, on made-up latencies and top-1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from hvnas.accuracy import ColumnEstimator, Estimate
from hvnas.ops import Column
from hvnas.search.problem import Problem
from hvnas.search.rows import Floats, Rows
from hvnas.space import Space, load_space
from hvnas.studies.rediscovery.members import Interval, near_optimal
from hvnas.studies.rediscovery.patterns import LayoutOf
from hvnas.studies.rediscovery.slimmed import slim
from hvnas.testing.strategies import ToyDevice


def _no_number(_: Any) -> float:
    return 0.0


TOP1, SHARED = (Column(f"toy.{name}", "sum", _no_number) for name in ("top1", "shared"))


@dataclass(frozen=True)
class Believer(ColumnEstimator):
    """Top-1 from its first column; what a unit of the second is worth is unknown, with an sd of `doubt`."""

    doubt: float = 0.0
    columns: tuple[Column, ...] = (TOP1, SHARED)

    def estimate_columns(
        self, values: Floats, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate:
        return Estimate(values[:, 0], np.full(len(values), 0.5))

    def joint_columns(
        self, values: Floats, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> tuple[Floats, Floats]:
        shared = self.doubt * values[:, 1]
        return values[:, 0], np.outer(shared, shared) + 0.01 * np.eye(len(values))


def numbers(space: Space, rows: Rows, gene: str) -> Floats:
    """The values of a gene by stage. Shape [n, stages]."""
    names = [each.name for each in space.genes]
    places = [names.index(f"stages.{i}.{gene}") for i in range(len(space.spec.stages))]
    values = [np.array(space.genes[place].values, dtype=np.float64)[rows[:, place]] for place in places]
    return np.stack(values, axis=1)


@dataclass(frozen=True)
class Worth:
    """Latency of a millisecond a block; top-1 by depth, and the worth of attending in the last stage."""

    space: Space
    attending: float

    def __call__(self, rows: Rows) -> Floats:
        local, attending = (numbers(self.space, rows, f"{run}.depth") for run in ("local", "global"))
        depth, last = (local + attending).sum(axis=1), (attending[:, -1] > 0).astype(np.float64)
        return np.stack([depth, 60 + 0.1 * depth + self.attending * last, last, depth, depth], axis=1)


def problem(*, worth: float, doubt: float, budget: float = 6.0) -> Problem:
    space = load_space("metaformer-tiny")
    return Problem(
        space=space,
        device=ToyDevice(),
        estimator=Believer(doubt),
        budget_ms=budget,
        features=Worth(space, worth),
    )


def starts(n: int = 150) -> Rows:
    return load_space("metaformer-tiny").sample(n, rng=np.random.default_rng(0))


def attends(worth: float, doubt: float) -> float:
    near = near_optimal(problem(worth=worth, doubt=doubt), starts(), members=300, steps=20)
    return near.stages[-1].attends


def test_what_is_certainly_better_is_certain() -> None:
    assert attends(worth=5.0, doubt=0.01) == 1.0
    assert attends(worth=-5.0, doubt=0.01) == 0.0


def test_what_the_evidence_leaves_open_has_its_chance() -> None:
    # Worth nothing on average, with an sd of 2 points: which of the two is better is a coin's toss.
    assert attends(worth=0.0, doubt=2.0) == pytest.approx(0.5, abs=0.1)
    # Worth 2 with an sd of 2: better with a chance of 0.84.
    assert attends(worth=2.0, doubt=2.0) == pytest.approx(0.84, abs=0.08)


def test_only_networks_within_the_budget_that_may_be_the_best_compete() -> None:
    near = near_optimal(problem(worth=0.0, doubt=0.0), starts(), members=300, steps=20)
    assert sum(near.chances) == pytest.approx(1.0)
    depths = [sum(layout.depths) for layout in near.layouts]
    assert max(depths) == 6 == sum(near.layouts[near.best].depths)
    # A block is worth 0.1, the noise of a difference 0.14: two blocks less have a chance of less than 0.1.
    assert min(depths) == 5
    again = near_optimal(problem(worth=0.0, doubt=0.0), starts(), members=300, steps=20)
    assert again.layouts == near.layouts and np.array_equal(again.chances, near.chances)


def test_no_more_members_compete_than_are_wanted() -> None:
    near = near_optimal(problem(worth=0.0, doubt=2.0), starts(), members=40, steps=20)
    assert len(near) <= 40


def test_walks_reach_members_that_no_search_has_found() -> None:
    rows = starts(20)
    found = {LayoutOf.of(load_space("metaformer-tiny").decode(row)) for row in rows}
    near = near_optimal(problem(worth=0.0, doubt=2.0), rows, members=300, steps=20)
    assert len(set(near.layouts) - found) > 20


def test_nothing_within_the_budget_is_said() -> None:
    with pytest.raises(ValueError, match=r"none of 150 networks keeps 1\.000 ms"):
        near_optimal(problem(worth=0.0, doubt=1.0, budget=1.0), starts())


def test_an_interval_counts_by_chance() -> None:
    values, chances = np.array([7, 1, 3, 2]), np.array([0.05, 0.05, 0.5, 0.4])
    found = Interval.of(values, chances)
    assert (found.low, found.median, found.high) == (2, 3, 3)
    assert found.holds(2) and not found.holds(7)


@dataclass(frozen=True)
class Priced:
    """Latency and top-1 as sums over stages: what a block, and what 16 channels, cost and are worth."""

    space: Space
    cost: tuple[float, ...]
    worth: tuple[float, ...]
    cost_of_attention: float = 1.0
    worth_of_attention: float = 1.0
    outside: bool = False

    def __call__(self, rows: Rows) -> Floats:
        local, attending = (numbers(self.space, rows, f"{run}.depth") for run in ("local", "global"))
        plain = local + attending + numbers(self.space, rows, "width") / 16
        ms = (plain + self.cost_of_attention * attending) @ np.array(self.cost)
        top1 = (plain + self.worth_of_attention * attending) @ np.array(self.worth)
        # The toy device's gate shuts out latencies that end in the upper half of a tenth.
        outside = self.outside & (attending[:, :3].sum(axis=1) > 0)
        return np.stack([ms + 0.05 * outside, top1, np.zeros(len(rows)), ms, ms], axis=1)


@pytest.fixture(scope="module")
def small() -> Space:
    spec = load_space("efficientformer").spec
    stages = tuple(
        replace(
            stage,
            width=(16, 32),
            local_depth=(0, 1, 2),
            global_depth=(0, 1, 2) if max(stage.global_depth) else (0,),
        )
        for stage in spec.stages
    )
    return Space(replace(spec, name="small", stages=stages))


def slimming(space: Space, *, gated: bool = False, **priced: Any) -> Problem:
    return Problem(
        space=space,
        device=ToyDevice(gated),
        estimator=Believer(),
        budget_ms=1e6,
        features=Priced(space, outside=gated, **priced),
    )


def test_what_loses_least_per_millisecond_goes_first(small: Space) -> None:
    # Stage 2 costs as much as the others and is worth a tenth: it is all that shrinks at first.
    found = slimming(small, cost=(1, 1, 1, 1), worth=(1, 0.1, 1, 1))
    start, (first, second) = slim(found, {"small": start_ms(found) - 2, "large": start_ms(found) - 1})
    assert start.layout.depths == (2, 2, 2, 2) and start.layout.attending == (0, 0, 2, 2)
    assert (first.model, second.model) == ("large", "small") and (first.steps, second.steps) == (1, 2)
    assert second.found.layout.depths == (2, 1, 2, 2) and second.found.layout.widths == (32, 16, 32, 32)


def start_ms(problem: Problem) -> float:
    return slim(problem, {})[0].ms


def test_attention_that_does_not_pay_becomes_convolution(small: Space) -> None:
    found = slimming(small, cost=(1,) * 4, worth=(1,) * 4, cost_of_attention=2.0, worth_of_attention=0.1)
    _, (stop,) = slim(found, {"model": start_ms(found) - 8})
    assert stop.found.layout.attending == (0, 0, 0, 0) and stop.found.layout.depths == (2, 2, 2, 2)
    # The first goes first: what is left attends at the end.
    _, (stop,) = slim(found, {"model": start_ms(found) - 4})
    assert stop.found.layout.attending == (0, 0, 0, 2) and stop.steps == 2


def test_with_the_gate_it_starts_inside_and_stays_there(small: Space) -> None:
    found = slimming(small, gated=True, cost=(1,) * 4, worth=(1,) * 4)
    start, stops = slim(found, {"model": start_ms(found) - 3})
    assert start.layout.attending == (0, 0, 0, 2) and start.layout.depths == (2, 2, 2, 2)
    assert not any(stops[0].found.layout.attending[:3])


def test_a_budget_that_no_move_leads_to_is_left_out(small: Space) -> None:
    found = slimming(small, cost=(1,) * 4, worth=(1,) * 4)
    _, stops = slim(found, {"reached": 10.0, "not": 1.0})
    assert [stop.model for stop in stops] == ["reached"]
