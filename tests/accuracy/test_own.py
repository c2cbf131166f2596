"""An estimator of the reader's own results: what it learns, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hvnas
from hvnas.accuracy import load_estimator
from hvnas.accuracy.estimator import chances, values_of
from hvnas.accuracy.surrogate.own import fit_own, load_own, read_results, save_own
from hvnas.arch import save_arch

NAMES = (
    *("efficientformer_l1", "efficientformer_l3", "poolformer_s12", "poolformer_s24", "poolformer_s36"),
    *("coatnet_0", "coatnet_1", "mobilevit_xs", "mobilevit_s", "efficientvit_b1", "efficientvit_b2"),
)


def written(path: Path, rows: list[str], header: str = "arch,metric") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another data set: the surrogate's own estimates, scaled, with a little noise."""
    archs = [hvnas.load_arch(name) for name in NAMES]
    mean = load_estimator("surrogate").estimate(archs).mean
    metric = 95.0 - 0.5 * (100.0 - mean) + np.random.default_rng(0).normal(0, 0.1, len(mean))
    rows = [f"{name},{value:.2f}" for name, value in zip(NAMES, metric, strict=True)]
    return written(tmp_path_factory.mktemp("own") / "results.csv", rows)


def test_it_learns_another_data_set(results: Path) -> None:
    estimator = fit_own(results, "mine")
    assert estimator.error["n"] == len(NAMES)
    assert estimator.error["mae"] < 0.5
    assert estimator.error["tau"] > 0.8


def test_left_out_is_what_a_fit_without_the_result_gives(results: Path, tmp_path: Path) -> None:
    estimator = fit_own(results, "mine")
    lines = results.read_text(encoding="utf-8").splitlines()
    rest = fit_own(written(tmp_path / "rest.csv", lines[2:]), "rest")
    same = replace(rest, spread=estimator.spread, noise=estimator.noise)
    alone = same.estimate([hvnas.load_arch(NAMES[0])]).mean[0]
    # The mean that the slope turns about moves with the result that is left out, hardly.
    assert alone == pytest.approx(estimator.left_out().mean[0], abs=0.05)


def test_a_file_gives_the_same_estimator(results: Path, tmp_path: Path) -> None:
    estimator = fit_own(results, "mine")
    save_own(estimator, tmp_path / "mine.json")
    again = load_own(tmp_path / "mine.json")
    by_name = load_estimator(str(tmp_path / "mine.json"))
    archs = [hvnas.load_arch(name) for name in ("coatnet_2", "efficientformer_l7")]
    assert again.estimate(archs).mean.tolist() == estimator.estimate(archs).mean.tolist()
    assert by_name.estimate(archs).sd.tolist() == estimator.estimate(archs).sd.tolist()


def test_sd_is_larger_away_from_the_results(results: Path) -> None:
    estimator = fit_own(results, "mine")
    found = estimator.estimate([hvnas.load_arch("coatnet_0"), hvnas.load_arch("mobileformer_26m")])
    assert found.sd[1] > found.sd[0] > 0


def test_what_networks_share_goes_together(results: Path) -> None:
    """Joint means and deviations are those of single networks; two of a kind are known apart better."""
    estimator = fit_own(results, "mine")
    archs = [hvnas.load_arch(name) for name in ("efficientformer_l7", "efficientformer_l3", "coatnet_0")]
    values = values_of(estimator.columns, archs)
    mean, covariance = estimator.joint_columns(values)
    alone = estimator.estimate_columns(values)
    assert mean.tolist() == alone.mean.tolist()
    assert np.sqrt(np.diag(covariance)) == pytest.approx(alone.sd, rel=1e-4)
    assert covariance == pytest.approx(covariance.T, rel=1e-3)
    forth, back = (estimator.chances_of_better(values[order])[0] for order in ([0, 1], [1, 0]))
    assert forth + back == pytest.approx(1.0, abs=1e-3)
    assert forth == pytest.approx(chances(mean, covariance)[0])
    assert covariance[0, 1] > 0 and forth > chances(mean, np.diag(np.diag(covariance)))[0]


def test_it_says_what_it_assumed(results: Path) -> None:
    estimator = fit_own(results, "mine")
    arch = hvnas.load_arch("coatnet_0")
    assert estimator.assumptions([arch]) == ()
    said = estimator.assumptions([arch.with_(classes=10, resolution=384)])
    assert len(said) == 2
    assert "384" in said[0] and "10 classes" in said[1]


def test_paths_are_relative_to_the_table(tmp_path: Path) -> None:
    save_arch(hvnas.load_arch("poolformer_s12"), tmp_path / "mine.yaml")
    (row,) = read_results(written(tmp_path / "results.csv", ["mine.yaml,77.2"]))
    assert row.arch == hvnas.load_arch("poolformer_s12")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["coatnet_9,80.0"], "row 2: arch: unknown model 'coatnet_9'"),
        (["coatnet_0,80.0", "coatnet_1,0.81"], "row 3: metric: 0.81 is a fraction; write the percentage, 81"),
        (["coatnet_0,80.0", "coatnet_0,81.0"], "row 3: metric: 81, but row 2"),
        (["coatnet_0,high"], "row 2: metric: must be a number"),
        (["coatnet_0,120"], "row 2: metric: must be a percentage"),
    ],
)
def test_bad_rows_are_refused_by_number(tmp_path: Path, rows: list[str], message: str) -> None:
    path = written(tmp_path / "results.csv", rows)
    with pytest.raises(ValueError, match=message) as caught:
        read_results(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metric: missing column"):
        read_results(written(tmp_path / "a.csv", ["coatnet_0"], header="arch"))
    with pytest.raises(ValueError, match="seed: unknown column"):
        read_results(written(tmp_path / "b.csv", ["coatnet_0,80,1"], header="arch,metric,seed"))
    with pytest.raises(ValueError, match="too few"):
        fit_own(written(tmp_path / "c.csv", ["coatnet_0,80"]), "mine")
    (tmp_path / "d.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="make it again"):
        load_own(tmp_path / "d.json")


def test_equal_duplicates_count_once_and_trainings_apart(tmp_path: Path) -> None:
    rows = ["coatnet_0,80.0,300", "coatnet_0,80.0,300", "coatnet_0,81.0,600"]
    assert len(read_results(written(tmp_path / "r.csv", rows, header="arch,metric,epochs"))) == 2


def spoiled(stored: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """The file's data with another value; behind a field of lists in the first place of the first list."""
    changed: dict[str, Any] = json.loads(json.dumps(stored))
    target: Any = changed
    *way, last = field.split(".")
    for key in way:
        target = target[int(key) if key.isdigit() else key]
    target[int(last) if last.isdigit() else last] = value
    return changed


@pytest.fixture(scope="module")
def stored(results: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The data of an estimator's file."""
    path = tmp_path_factory.mktemp("stored") / "mine.json"
    save_own(fit_own(results, "mine"), path)
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metric.0", float("inf")),
        ("metric.0", float("nan")),
        ("metric.0", 100.0),
        ("metric.0", "78"),
        ("metric.0", True),
        ("values.0.0", float("inf")),
        ("values.0.0", 1e308),
        ("values.0.0", -1.0),
        ("values.0", [1.0]),
        ("recipes.0.0", 1e6),
        ("resolutions", [256, 128]),
        ("resolutions", [1]),
        ("classes", []),
        ("classes.0", 10**400),
        ("spread", float("nan")),
        ("spread", -1),
        ("noise", 0.0),
        ("name", 3),
        ("extra", 1),
        ("columns", "all"),
    ],
)
def test_a_number_without_bounds_is_refused_at_load(
    stored: dict[str, Any], tmp_path: Path, field: str, value: Any
) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(spoiled(stored, field, value)), encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.json: .*make it again with 'hvnas accuracy fit'") as caught:
        load_own(tmp_path / "mine.json")
    message = str(caught.value)
    assert "\n" not in message and len(message) <= 500
    assert field.split(".")[0] in message or "finite" in message or "digits" in message


def test_tables_of_spreadsheets_are_read(tmp_path: Path) -> None:
    """A mark of byte order, semicolons with decimal commas, quoted names and empty rows at the end."""
    plain = written(tmp_path / "a.csv", ["coatnet_0,81.6", "coatnet_1,83.3"])
    other = tmp_path / "b.csv"
    other.write_text("\ufeffarch;metric\r\ncoatnet_0;81,6\r\n'coatnet_1;83,3\r\n;\r\n", encoding="utf-8")
    with pytest.raises(ValueError, match="arch: unknown model"):
        read_results(other)
    other.write_text(other.read_text(encoding="utf-8").replace("'", ""), encoding="utf-8")
    assert read_results(other) == read_results(plain)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["coatnet_0,80.0," + "x" * 200_000], "row 2: augmentation: a cell of more than"),
        (["coatnet_0,1e999,modern"], "row 2: metric: must be a finite number"),
        (["coatnet_0,80.0"], "row 2: 2 fields where the header has 3"),
        (["coatnet_0,80.0,modern,", "a,b,c,d"], "row 3: 4 fields"),
        (["coatnet_0,80.0," + "[" * 3000], "row 2: augmentation: must be basic or policy or modern"),
    ],
)
def test_long_and_odd_cells_are_refused_briefly(tmp_path: Path, rows: list[str], message: str) -> None:
    path = written(tmp_path / "r.csv", rows, header="arch,metric,augmentation")
    with pytest.raises(ValueError, match=message) as caught:
        read_results(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) <= 500
