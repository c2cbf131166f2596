"""Measures of fronts against figures worked out by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import made_runs
import numpy as np
import pytest

from hvnas.report import Comparison, compare_folders, to_csv, to_json
from hvnas.report.compare import coverage, equal
from hvnas.report.panels import front_panels

# Objectives (one less than top-1): 60 at 1 ms, 80 at 2 ms; and 70 at 1 ms, 80 at 2 ms, 85 at 3 ms.
LOW = [(1.0, 61.0), (2.0, 81.0)]
HIGH = [(1.0, 71.0), (2.0, 81.0), (3.0, 86.0)]


def pair(tmp_path: Path, first: dict[str, Any], second: dict[str, Any]) -> Comparison:
    folders = [
        made_runs.make(tmp_path / "low", LOW, **first),
        made_runs.make(tmp_path / "high", HIGH, **second),
    ]
    return compare_folders(folders)


@pytest.fixture
def found(tmp_path: Path) -> Comparison:
    return pair(tmp_path, {"seed": 1}, {"seed": 2})


def test_hypervolumes_reach_to_budget_and_zero_points(found: Comparison) -> None:
    assert [(str(c.objective), c.value, c.why) for c in found.reference] == [
        ("top1", 0.0, "zero"),
        ("latency_ms", 4.0, "budget"),
    ]
    low, high = found.measures
    assert low.hypervolume == 60 * 1 + 80 * 2
    assert high.hypervolume == found.union_hypervolume == 70 * 1 + 80 * 1 + 85 * 1
    assert low.relative == pytest.approx(220 / 235)
    assert high.relative == 1.0


def test_coverage_is_of_equal_members_too(found: Comparison) -> None:
    low, high = found.measures
    assert low.coverage == pytest.approx((1.0, 1 / 3))
    assert high.coverage == pytest.approx((1.0, 1.0))


def test_what_both_hold_counts_for_both(found: Comparison) -> None:
    assert found.union_size == 3
    assert [each.union_share for each in found.measures] == pytest.approx([1 / 3, 1.0])


def test_coverage_of_no_point_is_nan() -> None:
    assert np.isnan(coverage(np.ones((2, 2)), np.empty((0, 2))))
    assert coverage(np.empty((0, 2)), np.ones((2, 2))) == 0.0


def test_equal_compares_whole_points() -> None:
    points = np.array([[1.0, 2.0], [1.0, 3.0]])
    assert equal(points, to=np.array([[1.0, 3.0]])).tolist() == [False, True]
    assert equal(np.empty((0, 2)), to=points).tolist() == []


def test_with_other_budgets_only_the_common_part_counts(tmp_path: Path) -> None:
    found = pair(tmp_path, {"budget_ms": 2.5, "margin": 0.25}, {})
    assert found.limit_ms == 2.0
    assert found.reference[1].value == 2.5
    assert found.reference[1].why == "tightest budget"
    low, high = found.measures
    assert (low.members, high.members) == (2, 2)
    assert low.hypervolume == 60 * 1 + 80 * 0.5
    assert high.hypervolume == 70 * 1 + 80 * 0.5
    assert not found.shared_history
    assert found.differences == (
        "budget differs: 2.5 ms (low); 4 ms (high)",
        "margin differs: 25 % (low); 0 % (high)",
    )


def test_an_objective_without_bound_reaches_beyond_the_worst(tmp_path: Path) -> None:
    objectives = ("top1", "params")
    found = pair(tmp_path, {"objectives": objectives}, {"objectives": objectives})
    assert found.reference[1].value == pytest.approx(3 + 0.1 * 2)
    assert found.shared_history


def test_constraints_set_the_corner(tmp_path: Path) -> None:
    kept = {"constraints": ("top1>=50", "latency_ms<=3")}
    found = pair(tmp_path, kept, kept)
    assert [corner.value for corner in found.reference] == [50.0, 3.0]
    assert found.measures[0].hypervolume == 10 * 1 + 30 * 1


@pytest.mark.parametrize(
    ("field", "value", "other", "shown"),
    [
        ("objectives", ("top1", "latency_ms"), ("top1", "params"), "top1, params"),
        ("device_hash", "1" * 12, "2" * 12, "device: low has no-device .hash 1"),
        ("estimator", "surrogate", "flops", "estimator: low has surrogate, high has flops"),
        ("recipe", "modern300", "basic300", "recipe: low has modern300, high has basic300"),
        ("scenario", "imagenet1k", "large-data", "scenario: low has imagenet1k, high has large-data"),
    ],
)
def test_runs_that_do_not_compare_are_refused(
    tmp_path: Path, field: str, value: object, other: object, shown: str
) -> None:
    with pytest.raises(ValueError, match=shown):
        pair(tmp_path, {field: value}, {field: other})


def test_other_devices_must_agree(tmp_path: Path) -> None:
    more = {"others": ("slow",), "other_hashes": ("3" * 12,), "other_margins": (0.0,)}
    with pytest.raises(ValueError, match=r"others: low has none, high has slow \(hash 3{12}\)"):
        pair(tmp_path, {}, more)


def test_the_same_device_by_another_name_compares(tmp_path: Path) -> None:
    assert pair(tmp_path, {}, {"device": "a/path.yaml"}).measures


def test_one_run_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two or more"):
        compare_folders([made_runs.make(tmp_path / "low", LOW)])


def test_fixed_points_that_cannot_be_scored_are_left_out_with_the_reason(found: Comparison) -> None:
    assert found.fixed_points == ()
    assert found.no_fixed_points is not None and "nowhere" in found.no_fixed_points


def test_json_says_everything(found: Comparison) -> None:
    told = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert told["hypervolume_unit"] == "points·ms"
    assert told["union"] == {"members": 3, "hypervolume": 235.0}
    low = told["runs"][0]
    assert low["coverage"] == {"low": 1.0, "high": 0.3333}
    assert low["best"]["objectives"] == {"top1": 80.0, "latency_ms": 2.0}
    assert low["history"][-1]["hypervolume"] == 140.0
    assert (low["seed"], low["evaluated"], low["stopped"]) == (1, 100, False)


def test_csv_has_a_line_for_each_run(found: Comparison) -> None:
    lines = list(csv.DictReader(to_csv(found).splitlines()))
    assert [line["run"] for line in lines] == ["low", "high"]
    assert lines[0]["covers:high"] == "0.3333"
    assert lines[1]["best_top1"] == "86.0"
    assert lines[1]["hypervolume"] == "235.0"


def test_a_bound_on_the_better_side_moves_no_corner(tmp_path: Path) -> None:
    found = pair(tmp_path, {}, {"constraints": ("latency_ms>=0.5", "top1<=90")})
    assert [(corner.value, corner.why) for corner in found.reference] == [(0.0, "zero"), (4.0, "budget")]
    (panel,) = front_panels(found)
    assert panel.region is not None
    assert (panel.region.x, panel.region.y) == ((0.5, 4.0), (None, 90.0))


def test_the_best_compared_is_no_guess(tmp_path: Path) -> None:
    told = to_json(pair(tmp_path, {"sds": [1.0, 20.0]}, {}))
    assert [run["best"]["name"] for run in told["runs"]] == ["n0", "n2"]
    assert [(run["front"], run["files"], run["guesses"]) for run in told["runs"]] == [(2, 2, 1), (3, 3, 0)]
