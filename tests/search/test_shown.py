"""Which networks of a front are shown, which is the best, and what is said of how many there are."""

from __future__ import annotations

import dataclasses
from operator import itemgetter

import numpy as np
import pytest
import toy

from hvnas.accuracy import Estimate
from hvnas.search.evaluations import (
    GUESS_SD,
    ROWS,
    best_place,
    files_words,
    front_words,
    guesses,
    left_out_words,
    shown_places,
)
from hvnas.search.objectives import Objective
from hvnas.search.run import execute
from hvnas.search.runs.result import nearest_and_highest

GUESS, KNOWN = GUESS_SD + 1, 1.0


def test_a_guess_is_told_by_the_decimals_of_the_files() -> None:
    sd = np.array([GUESS_SD - 0.1, GUESS_SD, GUESS_SD + 1e-6, GUESS_SD + 0.001, 83.6, 0.0, np.nan])
    assert guesses(sd).tolist() == [False, False, False, True, True, False, False]


def test_the_best_is_no_guess_unless_all_are() -> None:
    assert best_place(np.array([KNOWN, KNOWN, KNOWN])) == 2
    assert best_place(np.array([GUESS, KNOWN, GUESS])) == 1
    assert best_place(np.array([GUESS, GUESS])) == 1


def test_tables_show_what_is_written_and_known_evenly() -> None:
    sd = np.array([GUESS] * 10 + [KNOWN] * 90)
    written = np.arange(100) % 2 == 1
    places = shown_places(sd, written)
    assert len(places) == ROWS
    assert (places[0], places[-1]) == (11, 99)
    assert all(written[place] and sd[place] == KNOWN for place in places)
    assert set(np.diff(places).tolist()) == {8}


def test_few_are_all_shown_and_of_guesses_alone_all() -> None:
    written = np.ones(3, dtype=np.bool_)
    assert shown_places(np.array([KNOWN, GUESS, KNOWN]), written) == [0, 2]
    assert shown_places(np.array([GUESS, GUESS, GUESS]), written) == [0, 1, 2]


def test_the_nearest_and_the_highest_are_weighed_once_each() -> None:
    near = [("a", 78.0), ("b", 81.0), ("c", 80.0)]
    assert nearest_and_highest(near, top1=itemgetter(1)) == (near[0], near[1])
    assert nearest_and_highest(near[1:], top1=itemgetter(1)) == (near[1],)
    assert nearest_and_highest([], top1=itemgetter(1)) == ()


def test_words() -> None:
    assert front_words(193, 12) == "193 networks, 12 of them shown"
    assert front_words(1, 1) == "1 network, all shown"
    assert files_words(85, 193) == "written as files: 85, one for each step of 1 % along the front"
    assert files_words(3, 3) == "written as files: all of them"
    assert left_out_words(np.array([KNOWN, KNOWN])) == []
    assert left_out_words(np.array([KNOWN, GUESS])) == [
        "left out: 1 network whose accuracy is a guess (± more than 7 points)"
    ]
    assert left_out_words(np.array([GUESS, GUESS])) == [
        "shown although the accuracy of every network, the best one's too, is a guess (± more than 7 points)"
    ]


@dataclasses.dataclass(frozen=True)
class Unsure:
    """The landscape's top-1, a guess below `known` points."""

    known: float

    @property
    def columns(self) -> tuple[object, ...]:
        return toy.LANDSCAPE.problem().estimator.columns

    def estimate_columns(self, values: np.ndarray, *, recipe: str, scenario: str) -> Estimate:
        found = toy.LANDSCAPE.problem().estimator.estimate_columns(values, recipe=recipe, scenario=scenario)
        return Estimate(found.mean, np.where(found.mean < self.known, GUESS, found.sd))


@pytest.mark.parametrize(("known", "all_guesses"), [(0.0, False), (75.0, False), (1000.0, True)])
def test_the_fastest_is_the_best_only_where_its_accuracy_is_known(known: float, all_guesses: bool) -> None:
    problem = dataclasses.replace(
        toy.LANDSCAPE.problem(),
        estimator=Unsure(known),
        objectives=(Objective("latency_ms"), Objective("top1")),
    )
    result = execute(problem, dataclasses.replace(toy.config(evals=1500), objectives=("latency_ms", "top1")))
    sd = result.archive.evaluations.sd
    assert bool(guesses(sd).all()) == all_guesses
    fastest = (
        result.archive.evaluations.ms[~guesses(sd)] if not all_guesses else result.archive.evaluations.ms
    )
    assert result.best.latency_ms == pytest.approx(fastest.min())
    assert result.best in result.front and result.best in result.shown
    told = result.to_json()
    assert told["best"]["name"] == result.best.name
    assert told["counts"]["guesses"] == int(guesses(sd).sum())
    assert ("guess" in result.limit.best) == (known == 75.0)
