"""How the hypervolume over time is recorded."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import toy

from hvnas.search.evaluations import Archive
from hvnas.search.objectives import Objective, parse_constraint
from hvnas.search.pareto import hypervolume
from hvnas.search.problem import Problem
from hvnas.search.reach import find_reach
from hvnas.search.runs.session import FIELDS, History, Moment, history_csv, reference_of


@pytest.fixture(scope="module")
def problem() -> Problem:
    return toy.LANDSCAPE.problem()


def archive_of(problem: Problem, n: int) -> Archive:
    archive = Archive(len(problem.space.genes))
    rows = problem.space.sample(n, rng=np.random.default_rng(0))
    archive.add(rows, problem.evaluate(rows))
    return archive


def corner(problem: Problem) -> np.ndarray:
    return np.array([0.0, problem.budget_ms])


def test_a_moment_tells_the_front(problem: Problem) -> None:
    archive = archive_of(problem, 200)
    history = History(corner(problem))
    history.note(archive)
    (moment,) = history.moments
    assert (moment.evaluated, moment.front) == (200, len(archive))
    assert moment.hypervolume == hypervolume(archive.evaluations.costs, corner(problem))
    best = archive.best
    assert best is not None
    assert moment.best == best.objective[0]
    assert moment.seconds >= 0


def test_moments_are_at_growing_evaluations(problem: Problem) -> None:
    archive = archive_of(problem, 50)
    history = History(corner(problem))
    for evaluated in range(1, 10_001):
        archive.evaluated = evaluated
        history.note(archive)
    counts = [moment.evaluated for moment in history.moments]
    assert counts[0] == 1
    assert 40 < len(counts) < 100
    assert all(b >= 1.15 * a for a, b in pairwise(counts))


def test_the_end_is_noted_once_with_the_seconds_of_the_search(problem: Problem) -> None:
    archive = archive_of(problem, 200)
    history = History(corner(problem))
    history.note(archive)
    archive.evaluated = 201
    history.note(archive)
    assert len(history.moments) == 1
    history.close(archive)
    time.sleep(0.01)
    history.close(archive)
    assert [moment.evaluated for moment in history.moments] == [200, 201]
    assert history.moments[-1].seconds == pytest.approx(history.seconds, abs=0.005)
    assert history.moments[-1].seconds - history.moments[0].seconds >= 0.01


def test_an_empty_front_has_no_volume_and_no_best(problem: Problem) -> None:
    archive = Archive(len(problem.space.genes))
    archive.evaluated = 7
    history = History(corner(problem))
    history.note(archive)
    (moment,) = history.moments
    assert (moment.evaluated, moment.hypervolume, moment.front) == (7, 0.0, 0)
    assert math.isnan(moment.best)


def test_without_a_corner_there_is_no_volume(problem: Problem) -> None:
    history = History(np.array([math.nan, 1.0]))
    history.note(archive_of(problem, 50))
    assert math.isnan(history.moments[0].hypervolume)


def test_restored_it_goes_on(problem: Problem) -> None:
    archive = archive_of(problem, 200)
    history = History(corner(problem))
    history.note(archive)
    again = History(corner(problem))
    again.restore(json.loads(json.dumps(history.stored())))
    assert again.moments == history.moments
    assert again.seconds >= history.moments[-1].seconds
    again.note(archive)
    assert len(again.moments) == 1
    assert (history.parts, again.parts) == (1, 2)


def test_seconds_after_the_last_moment_are_not_lost(problem: Problem) -> None:
    history = History(corner(problem), started=time.perf_counter() - 5)
    history.note(archive_of(problem, 200))
    history.started -= 7
    again = History(corner(problem))
    again.restore(json.loads(json.dumps(history.stored())))
    assert 12 <= again.seconds < 13
    assert again.moments[-1].seconds < 6


def test_of_a_finished_run_no_part_is_added(problem: Problem) -> None:
    history = History(corner(problem))
    history.close(archive_of(problem, 200))
    again = History(corner(problem))
    again.restore(history.stored(), finished=True)
    assert (again.moments, again.parts) == (history.moments, 1)


def test_restored_from_nothing_and_from_moments_alone() -> None:
    history = History(np.zeros(2))
    history.restore({})
    assert (history.moments, history.before) == ([], 0.0)
    history.restore({"history": [[10, 2.5, 1.0, 3, 70.0]]})
    assert (history.moments[0].evaluated, history.before) == (10, 2.5)


def test_csv_has_a_line_for_each_moment() -> None:
    text = history_csv([Moment(10, 0.12345, 123.456789, 3, 78.12341), Moment(20, 1.0, 0.0, 0, math.nan)])
    lines = list(csv.DictReader(text.splitlines()))
    assert list(lines[0]) == list(FIELDS)
    assert list(lines[0].values()) == ["10", "0.123", "123.457", "3", "78.1234"]
    assert lines[1]["best"] == "nan"


def test_the_corner_is_the_budget_and_zero_points(problem: Problem) -> None:
    assert reference_of(problem, find_reach(problem)).tolist() == [0.0, problem.budget_ms]


def test_a_constraint_is_a_corner_the_tighter_the_better(problem: Problem) -> None:
    tight = 0.9 * problem.budget_ms
    kept = (parse_constraint("top1>=60"), parse_constraint(f"latency_ms<={tight}"))
    bounded = dataclasses.replace(problem, constraints=kept)
    assert reference_of(bounded, find_reach(problem)).tolist() == [-60.0, pytest.approx(tight)]


@pytest.mark.parametrize("text", ["top1<=90", "latency_ms>=0.001"])
def test_a_bound_on_the_better_side_moves_no_corner(problem: Problem, text: str) -> None:
    reach = find_reach(problem)
    bounded = dataclasses.replace(problem, constraints=(parse_constraint(text),))
    assert reference_of(bounded, reach).tolist() == reference_of(problem, reach).tolist()


def test_without_a_bound_the_corner_is_the_slowest_network(problem: Problem) -> None:
    sized = dataclasses.replace(problem, objectives=(Objective("top1"), Objective("params")))
    reach = find_reach(problem)
    slowest = problem.evaluate(reach.max_row[None]).params[0]
    assert reference_of(sized, reach).tolist() == [0.0, slowest]


def test_a_run_keeps_its_history(tmp_path: Path) -> None:
    result = toy.run(tmp_path / "run", evals=1000)
    last = result.history[-1]
    assert (last.evaluated, last.front) == (1000, len(result.archive))
    volumes = [moment.hypervolume for moment in result.history]
    assert volumes == sorted(volumes)
    assert (tmp_path / "run" / "history.csv").read_text() == history_csv(result.history)
    again = toy.run(tmp_path / "run", evals=1000)
    assert [moment.hypervolume for moment in again.history] == volumes
    assert (again.seconds, again.parts) == (result.seconds, 1)
    assert result.seconds == last.seconds
