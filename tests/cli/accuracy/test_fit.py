"""accuracy fit: an estimator from a table of results, and the tables that it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvnas.accuracy import load_estimator
from hvnas.arch import load_arch

RESULTS = {
    "efficientformer_l1": 88.1,
    "efficientformer_l3": 89.9,
    "poolformer_s12": 87.0,
    "poolformer_s24": 88.9,
    "coatnet_0": 89.5,
}


def written(folder: Path, *rows: str) -> Path:
    path = folder / "results.csv"
    path.write_text("\n".join(["arch,metric", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return written(tmp_path, *(f"{name},{metric}" for name, metric in RESULTS.items()))


def test_it_writes_an_estimator_and_prints_its_error(hvnas, results: Path) -> None:
    out = results.parent / "mine"
    said = hvnas("accuracy", "fit", "--results", results, "--out", out).stdout
    assert said.startswith(f"{out}.json: {len(RESULTS)} results; each left out in turn:")
    assert "mean absolute error" in said and "Kendall tau" in said
    found = load_estimator(f"{out}.json").estimate([load_arch("poolformer_s36")])
    assert 80 < found.mean[0] < 95
    assert found.sd[0] > 0


def test_json_names_the_file_and_the_error(hvnas, results: Path) -> None:
    out = results.parent / "mine.json"
    said = json.loads(hvnas("accuracy", "fit", "--results", results, "--out", out, "--json").stdout)
    assert set(said) == {"estimator", "n", "mae", "rmse", "tau"}
    assert said["estimator"] == str(out)
    assert said["n"] == len(RESULTS)
    assert said["mae"] > 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("coatnet_9,80.0",), "row 2: arch: unknown model 'coatnet_9'"),
        (("coatnet_0,80.0", "coatnet_1,0.81"), "row 3: metric: 0.81 is a fraction; write the percentage, 81"),
        (("coatnet_0,80.0", "coatnet_1,81.0", "coatnet_0,82.0"), "row 4: metric: 82, but row 2 gives"),
    ],
)
def test_bad_tables_are_refused_by_row(hvnas, tmp_path: Path, rows: tuple[str, ...], said: str) -> None:
    path = written(tmp_path, *rows)
    result = hvnas("accuracy", "fit", "--results", path, "--out", tmp_path / "mine")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert f"{path}: {said}" in result.stderr
    assert not (tmp_path / "mine.json").exists()
