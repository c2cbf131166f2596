"""The part of an evaluation that a worker makes, and what becomes of it here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from hvnas.accuracy import Estimate
from hvnas.arch import Arch
from hvnas.ops import Program
from hvnas.search.asking import Asked
from hvnas.search.evaluations import Evaluations
from hvnas.search.problem import Accuracy, Problem
from hvnas.search.seams import Floats, Rows


class Answer(NamedTuple):
    """What an estimator said of one network: mean and sd of top-1, or why it `refused`."""

    mean: float
    sd: float
    refused: str | None = None


@dataclass(frozen=True)
class Answered:
    """The estimator that says again, network by network, what workers heard; `unit` is that of theirs."""

    answers: Sequence[Answer]
    unit: str = "points"

    def estimate(
        self, archs_or_programs: Sequence[Arch | Program], *, recipe: str = "", scenario: str = ""
    ) -> Estimate:
        """The answers. Raises ValueError where one is a refusal."""
        for answer in self.answers:
            if answer.refused is not None:
                raise ValueError(answer.refused)
        return Estimate(np.array([a.mean for a in self.answers]), np.array([a.sd for a in self.answers]))


def work_on(problem: Problem) -> Callable[[Rows, Accuracy], Any]:
    """What a worker does with rows, made there: whole evaluations of a cheap problem, else Answers."""
    if problem.cheap:
        return lambda rows, accuracy: problem.evaluate(rows, accuracy=accuracy).arrays()
    return lambda rows, accuracy: [_answer(problem, row) for row in rows]


def _answer(problem: Problem, row: Rows) -> Answer:
    asked = Asked()
    estimator: Any = problem.estimator
    found = asked.estimate(
        estimator, [problem.space.decode(row)], recipe=problem.recipe, scenario=problem.scenario
    )
    return Answer(float(found[0][0]), float(found[1][0]), next(iter(asked.refused), None))


def evaluation_of(problem: Problem, row: Rows, work: Any) -> Evaluations:
    """The evaluation of one row, int16 [1, genes], of which `work` is what `work_on` made."""
    if problem.cheap:
        return Evaluations.stored(work)
    # Its features are tabulated once, and serve every such copy.
    kept = problem.with_seeds(problem.seeds)
    answered: Any = Answered(work, problem.unit)
    return replace(kept, estimator=answered).evaluate(row)


def estimates_of(asked: Asked, answers: Sequence[Answer], archs: Sequence[Arch]) -> tuple[Floats, Floats]:
    """Mean and sd of each network, as `asked` would have had them from the estimator itself."""
    pairs = [
        asked.estimate(Answered([answer]), [arch], recipe="", scenario="")
        for answer, arch in zip(answers, archs, strict=True)
    ]
    means, sds = zip(*pairs, strict=True)
    return np.concatenate(means), np.concatenate(sds)
