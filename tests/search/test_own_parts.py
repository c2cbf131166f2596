"""Estimators and devices of other makers: what derives from nothing is taken, with defaults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest

import hvnas
from hvnas.accuracy import AccuracyEstimator, ColumnEstimator, Estimate, load_estimator, register_estimator
from hvnas.accuracy.estimator import POINTS, as_estimator, estimator_error
from hvnas.accuracy.loading import _FACTORIES
from hvnas.arch import Arch
from hvnas.ops import MACS, PARAMS
from hvnas.search.run import execute
from hvnas.testing.strategies import LANDSCAPES

LANDSCAPE = LANDSCAPES[0]


class Answer(NamedTuple):
    mean: np.ndarray
    sd: np.ndarray


class OnlyEstimates:
    """The least that is taken: whole networks."""

    def estimate(self, archs: Sequence[Arch], *, recipe: str, scenario: str) -> Answer:
        rows = np.stack([LANDSCAPE.space.encode(arch) for arch in archs])
        return Answer(LANDSCAPE.features(rows)[:, 1], np.full(len(rows), 0.5))


class OnlyColumns:
    """The least that is taken: columns."""

    columns = (PARAMS, MACS)

    def estimate_columns(self, values: np.ndarray, *, recipe: str, scenario: str) -> Answer:
        return Answer(60 + np.log10(values.prod(axis=1)), np.full(len(values), 1.0))


class Says(OnlyEstimates):
    """Everything that may be said beside."""

    name = "says"
    unit = "score"
    meaning = "of somebody's data"
    image_size = (32, 10)
    error: ClassVar[dict[str, Any]] = {"overall": {"n": 7, "mae": 0.5, "tau": 0.9}}

    def check(self) -> None:
        raise ValueError("says: cannot start")

    def assumptions(self, archs: Sequence[Arch]) -> list[str]:
        return [f"{len(archs)} assumed"]


@pytest.fixture
def registered() -> Iterator[str]:
    register_estimator("only-columns")(OnlyColumns)
    yield "only-columns"
    del _FACTORIES["only-columns"]


def test_what_derives_is_taken_as_it_is() -> None:
    surrogate = load_estimator("surrogate")
    assert as_estimator(surrogate) is surrogate


def test_what_only_estimates_has_defaults() -> None:
    made = as_estimator(OnlyEstimates())
    assert isinstance(made, AccuracyEstimator) and not isinstance(made, ColumnEstimator)
    assert (made.unit, made.meaning, made.image_size, made.relative) == (POINTS, "", None, False)
    assert made.label() == "OnlyEstimates" and made.assumptions([]) == ()
    assert made.against([]) is made and made.overall_error() == {}
    made.check()
    assert "states no error" in estimator_error(made)
    found = made.estimate([LANDSCAPE.space.decode(np.zeros(len(LANDSCAPE.space.genes), dtype=np.int16))])
    assert isinstance(found, Estimate) and found.unit == POINTS


def test_what_only_reads_columns_estimates_networks() -> None:
    arch = hvnas.load_arch("efficientformer_l1")
    made = as_estimator(OnlyColumns())
    assert isinstance(made, ColumnEstimator)
    program = arch.lower()
    expected = 60 + np.log10(float(program.params) * program.macs)
    assert made.estimate([arch]).mean == pytest.approx([expected])
    assert made.estimate([program]).mean == pytest.approx([expected])
    mean, covariance = made.joint_columns(np.array([[1e6, 1e9], [2e6, 1e9]]))
    assert mean.shape == (2,) and (covariance == np.eye(2)).all()


def test_what_says_more_is_heard() -> None:
    made = as_estimator(Says())
    assert (made.label(), made.unit, made.meaning) == ("says", "score", "of somebody's data")
    assert made.image_size == (32, 10) and made.assumptions([]) == ("0 assumed",)
    assert "0.50 points" in estimator_error(made)
    with pytest.raises(ValueError, match="cannot start"):
        made.check()


def test_what_does_not_estimate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^estimator: int has no estimate\(\); derive it from ") as raised:
        as_estimator(3)
    assert "\n" not in str(raised.value)


def test_a_registered_one_is_loaded(registered: str) -> None:
    made = load_estimator(registered)
    assert isinstance(made, ColumnEstimator) and made.label() == "OnlyColumns"


def test_a_search_takes_one() -> None:
    import toy

    sizes = replace(
        LANDSCAPE.problem(), features=lambda rows: np.asarray(LANDSCAPE.features(rows)[:, [0, 2, 3]])
    )
    problem = replace(sizes, estimator=OnlyEstimates())
    assert not problem.cheap and problem.estimator.label() == "OnlyEstimates"
    result = execute(problem, toy.config("random", evals=20))
    assert result.archive.evaluated == 20


def test_devices_of_other_makers_have_defaults() -> None:
    from hvnas.latency.device import LatencyDevice, as_device
    from hvnas.latency.provenance import beyond_measured, provenance

    class Bare:
        name, hash = "bare", "0"
        columns = LANDSCAPE.problem().device.columns

        def latency_columns(self, values: np.ndarray) -> Any:
            return LANDSCAPE.problem().device.latency_columns(values)

    made = as_device(Bare())
    assert isinstance(made, LatencyDevice) and as_device(made) is made
    assert made.info is None and made.default_margin() == 0.0
    assert made.p_within(np.array([1.0, 3.0]), 2.0).tolist() == [1.0, 0.0]
    assert "does not say how" in provenance(made)
    assert beyond_measured(made, "x", macs=10**9, ms=1.0) is None
    problem = replace(LANDSCAPE.problem(), device=Bare())
    assert problem.device.name == "bare"
    with pytest.raises(ValueError, match=r"^device: int has no name; derive it from "):
        as_device(3)
