"""compare: two real runs side by side."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from hvnas.arch import load_arch

SHARED = ("--space", "efficientformer", "--device", "iphone12", "--strategy", "evolution", "--evals", "300")


@pytest.fixture(scope="module")
def runs(hvnas, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("compare")
    folders = [root / f"seed-{seed}" for seed in (1, 2)]
    for seed, folder in zip((1, 2), folders, strict=True):
        result = hvnas("search", "--budget-ms", "2", *SHARED, "--seed", seed, "--out", folder)
        assert result.exit_code == 0, result.output
    return folders


@pytest.fixture(scope="module")
def data(hvnas, runs: list[Path]) -> dict:
    result = hvnas("compare", *runs, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_runs_and_their_measures(data: dict, runs: list[Path]) -> None:
    assert [run["run"] for run in data["runs"]] == ["seed-1", "seed-2"]
    assert data["reference"][1] == {"objective": "latency_ms", "value": 2.0, "why": "budget"}
    for run, folder in zip(data["runs"], runs, strict=True):
        with (folder / "pareto.csv").open(newline="") as file:
            best = list(csv.DictReader(file))[-1]
        assert run["best"]["name"] == best["name"]
        assert run["best"]["latency_ms"] == float(best["latency_ms"])
        assert run["evaluated"] == 300
        assert 0 < run["of_union"] <= 1
        assert run["hypervolume"] <= data["union"]["hypervolume"]


def test_the_hypervolume_is_that_of_the_run_s_own_history(data: dict) -> None:
    for run in data["runs"]:
        last = run["history"][-1]
        assert last["evaluated"] == 300
        # The front is read back at the decimals of its file.
        assert run["hypervolume"] == pytest.approx(last["hypervolume"], rel=1e-4)


def test_models_of_papers_are_scored_alike(hvnas, data: dict) -> None:
    models = {point["model"]: point for point in data["fixed_points"]}
    shown = json.loads(hvnas("show", "efficientformer_l1", "--device", "iphone12", "--json").stdout)
    assert models["efficientformer_l1"]["latency_ms"] == pytest.approx(
        shown["latency"]["iphone12"]["ms"], abs=1e-4
    )
    for run in data["runs"]:
        mine = [m for m, point in models.items() if run["run"] in point["dominated_by"]]
        assert run["fixed_points_dominated"] == len(mine)
    # Evolution begins from those that are feasible: no front is worse than them.
    for point in data["fixed_points"]:
        if point["feasible"]:
            assert set(point["dominated_by"]) | set(point["held_by"]) == {"seed-1", "seed-2"}


def test_cross_fitted_numbers_and_chances_are_those_of_the_runs(hvnas, runs: list[Path], data: dict) -> None:
    points = {point["model"]: point for point in data["fixed_points"]}
    for run, folder in zip(data["runs"], runs, strict=True):
        found = load_arch(folder / "best.yaml").found or {}
        for name in ("top1_cross_fitted", "top1_cross_fitted_sd"):
            assert run["best"][name] == found[name]
        for rival in found["better_than"]:
            point = points[rival["model"]]
            assert point["p_better"][run["run"]] == pytest.approx(rival["p_better"], abs=2e-4)
            assert point["top1_cross_fitted"] == pytest.approx(rival["top1_cross_fitted"], abs=2e-3)
            assert point["published_top1"] == rival["published_top1"]
    text = hvnas("compare", *runs).stdout
    best = data["runs"][0]["best"]
    shown = f"{best['top1_cross_fitted']:.1f} ± {best['top1_cross_fitted_sd']:.1f}"
    heading, row = text.split("Searches, and the best network of each\n")[1].splitlines()[:2]
    assert "best cross-fitted" in heading and shown in row
    assert "P(seed-1's best is better)" in text


def test_runs_of_before_compare_without_cross_fitted_numbers(hvnas, runs: list[Path], tmp_path: Path) -> None:
    import shutil

    for folder in runs:
        shutil.copytree(folder, tmp_path / folder.name)
        front = tmp_path / folder.name / "pareto.csv"
        front.write_text("\n".join(line.rsplit(",", 2)[0] for line in front.read_text().splitlines()) + "\n")
    olds = [tmp_path / folder.name for folder in runs]
    result = hvnas("compare", *olds, "--json")
    assert result.exit_code == 0, result.output
    assert "top1_cross_fitted" not in json.loads(result.stdout)["runs"][0]["best"]
    assert "best cross-fitted" not in hvnas("compare", *olds).stdout


def test_the_table_says_what_the_json_says(hvnas, runs: list[Path], data: dict) -> None:
    text = hvnas("compare", *runs).stdout
    assert text.startswith("2 runs: top1 against latency_ms\n")
    assert "reference  top1 0 (zero); latency_ms 2 (budget)" in text
    searched, row, *_ = [line for line in text.splitlines() if line.startswith("  seed-1 ")]
    assert searched.split()[1:4] == ["evolution", "1", "300"]
    assert f"{data['runs'][0]['hypervolume']:.6g}" in row
    assert f"{100 * data['runs'][0]['of_union']:.2f} %" in row
    covered = data["runs"][0]["coverage"]["seed-2"]
    assert any(
        line.startswith("  seed-1 ") and f"{100 * covered:.1f} %" in line for line in text.splitlines()
    )
    assert "efficientformer_l1" in text


def test_files_are_written_and_named(hvnas, runs: list[Path], tmp_path: Path) -> None:
    result = hvnas("compare", *runs, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    files = [tmp_path / "out" / f"compare.{kind}" for kind in ("html", "png", "csv")]
    assert result.stdout.splitlines()[-1] == "Written: " + ", ".join(map(str, files))
    assert all(file.is_file() for file in files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda runs, tmp: runs[:1], "give two or more run folders"),
        (lambda runs, tmp: [runs[0], runs[0]], "is listed twice"),
        (lambda runs, tmp: [runs[0], tmp], "holds no run"),
        (lambda runs, tmp: [*runs, "--out", tmp / "a.pdf"], "choose one of them"),
        (lambda runs, tmp: [*runs, "--out", tmp / "no" / "a.png"], "there is no folder"),
    ],
)
def test_errors_are_one_line(hvnas, runs: list[Path], tmp_path: Path, arguments, message: str) -> None:
    result = hvnas("compare", *arguments(runs, tmp_path))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_stopped_run_is_marked(hvnas, runs: list[Path], tmp_path: Path) -> None:
    import shutil

    cut = tmp_path / "cut"
    shutil.copytree(runs[0], cut)
    log = cut / "log.txt"
    log.write_text(log.read_text().replace("finished:", "stopped:"))
    text = hvnas("compare", cut, runs[1]).stdout
    assert "cut was stopped before its end" in text
    assert "300 (stopped)" in text


def test_another_budget_is_told(hvnas, runs: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "tight"
    assert hvnas("search", "--budget-ms", "1.5", *SHARED, "--out", other).exit_code == 0
    result = hvnas("compare", runs[0], other, "--json")
    told = json.loads(result.stdout)
    assert told["differences"] == ["budget differs: 2 ms (seed-1); 1.5 ms (tight)"]
    assert told["reference"][1]["value"] == 1.5
    assert told["runs"][0]["compared"] < told["runs"][0]["front"]
    assert told["runs"][1]["compared"] == told["runs"][1]["front"]


def test_an_estimator_that_changed_scores_no_models(hvnas, runs: list[Path], tmp_path: Path) -> None:
    import shutil

    old = tmp_path / "old"
    shutil.copytree(runs[0], old)
    front = old / "pareto.csv"
    *lines, best = front.read_text().splitlines()
    cells = best.split(",")
    cells[7] = f"{float(cells[7]) + 1:.3f}"
    front.write_text("\n".join([*lines, ",".join(cells)]) + "\n")
    text = hvnas("compare", old, runs[1]).stdout
    assert "The papers' models are left out: surrogate has changed since old" in text


def test_one_objective_of_scores_is_compared_and_drawn(hvnas, tmp_path: Path) -> None:
    asked = ["--budget-ms", "2", *SHARED[:-1], "60", "--estimator", "params", "--objective", "top1"]
    runs = [tmp_path / f"seed-{seed}" for seed in (1, 2)]
    for seed, folder in enumerate(runs):
        assert hvnas("search", *asked, "--seed", seed, "--out", folder, "-q").exit_code == 0
    result = hvnas("compare", *runs, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "compare.csv",
        "compare.html",
        "compare.png",
    ]
    assert "Best score over evaluations" in (tmp_path / "out" / "compare.html").read_text()
    model = next(line for line in result.stdout.splitlines() if line.split()[:1] == ["efficientformer_l1"])
    assert model.split()[2] == "1.229e+07"


def test_csv_is_that_of_the_file(hvnas, runs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    assert hvnas("compare", *runs, "--out", path).exit_code == 0
    printed = hvnas("compare", *runs, "--format", "csv")
    assert printed.exit_code == 0
    assert printed.stdout == path.read_text(encoding="utf-8")
