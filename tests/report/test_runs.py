"""Reading run folders back."""

from __future__ import annotations

import re
from pathlib import Path

import made_runs
import numpy as np
import pytest

from hvnas.report import load_run, load_runs
from hvnas.report.runs import run_lines
from hvnas.search import InfeasibleBudget, search
from hvnas.search.runs.folder import SearchFolder

POINTS = [(1.0, 71.0), (2.0, 81.0)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made_runs.make(tmp_path / "one", POINTS)


def test_front_history_and_end_are_read(folder: Path) -> None:
    run = load_run(folder)
    assert (run.name, run.unit, run.evaluated, run.stopped) == ("one", "points", 100, False)
    assert np.array_equal(run.costs, [[-70.0, 1.0], [-80.0, 2.0]])
    assert run.members == ("n0", "n1")
    assert [run.low[1], run.ms[1], run.high[1]] == [1.8, 2.0, 2.2]
    assert run.history == made_runs.MOMENTS
    assert run.seconds == 2.0


def test_objectives_are_read_from_their_columns(tmp_path: Path) -> None:
    objectives = ("params", "latency_ms", "top1")
    run = load_run(made_runs.make(tmp_path / "run", POINTS, objectives=objectives))
    assert np.array_equal(run.costs, [[1, 1.0, -70.0], [2, 2.0, -80.0]])


def with_crossed(folder: Path, *cells: str) -> Path:
    """The folder's front with cross-fitted numbers at the end of its lines."""
    header, *lines = (folder / "pareto.csv").read_text().splitlines()
    names = ",top1_cross_fitted,top1_cross_fitted_sd"
    whole = [header + names, *(f"{line},{cell}" for line, cell in zip(lines, cells, strict=True))]
    (folder / "pareto.csv").write_text("\n".join(whole) + "\n")
    return folder


def test_cross_fitted_numbers_are_read_where_there_are_both(folder: Path) -> None:
    earlier = load_run(folder)
    assert np.isnan(earlier.cross_fitted).all() and np.isnan(earlier.cross_fitted_sd).all()
    run = load_run(with_crossed(folder, "70.250,", "80.125,0.500"))
    assert np.isnan(run.cross_fitted[0]) and np.isnan(run.cross_fitted_sd[0])
    assert (run.cross_fitted[1], run.cross_fitted_sd[1]) == (80.125, 0.5)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("high,0.5", "row 3: top1_cross_fitted: must be a number, got 'high'"),
        ("nan,0.5", "row 3: top1_cross_fitted: must be a finite number, got nan"),
        ("80,-1", "row 3: top1_cross_fitted_sd: must be"),
    ],
)
def test_damaged_cross_fitted_numbers_are_refused(folder: Path, cells: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load_run(with_crossed(folder, ",", cells))


def test_a_score_is_no_top1(folder: Path) -> None:
    front = folder / "pareto.csv"
    front.write_text(front.read_text().replace("top1,top1_sd", "score,spare"))
    run = load_run(folder)
    assert run.unit == "score"
    assert run.costs[:, 0].tolist() == [-71.0, -81.0]
    assert run.sd.tolist() == [0.0, 0.0]


def test_the_last_end_counts(folder: Path) -> None:
    with (folder / "log.txt").open("a") as log:
        log.write(
            "2020-01-01 00:00:00 resumed\n2020-01-01 00:00:01 stopped: 1234 evaluated, 2 on the front, 1 s\n"
        )
    run = load_run(folder)
    assert (run.stopped, run.evaluated) == (True, 1234)


def test_the_best_is_no_guess_and_tables_show_none(tmp_path: Path) -> None:
    points = [(1.0, 5.0), (2.0, 81.0), (3.0, 95.0)]
    run = load_run(made_runs.make(tmp_path / "run", points, sds=[83.6, 1.0, 7.5]))
    assert (run.best, run.shown, len(run.members)) == (1, [1], 3)
    assert run_lines(run) == [
        "written as files: all of them",
        "left out: 2 networks whose accuracy is a guess (± more than 7 points)",
    ]


def test_files_are_counted(folder: Path) -> None:
    front = folder / "pareto.csv"
    front.write_text(front.read_text().replace("archs/n0.yaml", ""))
    run = load_run(folder)
    assert (run.written.tolist(), run.shown) == ([False, True], [1])
    assert run_lines(run) == ["written as files: 1, one for each step of 1 % along the front"]


def test_parts_and_limit_are_those_of_the_last_end(tmp_path: Path) -> None:
    limit = "the budget (3.990 of 4 ms); at the fast end the floor of no-device"
    took = "2.0 s, the sum of 3 parts"
    folder = made_runs.make(tmp_path / "run", POINTS, limit="another", took="1.0 s")
    SearchFolder(folder).log(f"limit: {limit}")
    SearchFolder(folder).log(f"finished: 120 evaluated, 2 on the front, {took}")
    run = load_run(folder)
    assert (run.parts, run.evaluated, run.limit) == (3, 120, limit)
    assert run_lines(run)[1:] == [f"took {took}", f"limit: {limit}"]


def test_an_end_of_an_earlier_version_has_one_part_and_no_limit(folder: Path) -> None:
    run = load_run(folder)
    assert (run.parts, run.limit) == (1, None)


@pytest.mark.parametrize("name", ["pareto.csv", "history.csv", "log.txt"])
def test_a_run_that_has_not_ended_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"has no {name}.*hvnas resume"):
        load_run(folder)


def test_a_search_that_found_nothing_is_told_apart_from_damage(tmp_path: Path) -> None:
    run = tmp_path / "none"
    with pytest.raises(InfeasibleBudget, match="none of "):
        search("efficientformer", "iphone12", budget_ms=2.0, evals=50, constraints=["top1>=99"], out=run)
    with pytest.raises(ValueError, match=r"or found nothing within its budget; hvnas resume .* says so$"):
        load_run(run)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        load_run(tmp_path)


def test_a_log_without_an_end_is_refused(folder: Path) -> None:
    (folder / "log.txt").write_text("2020-01-01 00:00:00 started: evolution\n")
    with pytest.raises(ValueError, match=r"log\.txt: does not say how the search ended"):
        load_run(folder)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("pareto.csv", "81.000", "high", "row 3: top1: must be a number, got 'high'"),
        ("pareto.csv", "81.000", "nan", "row 3: top1: must be a finite number, got nan"),
        ("pareto.csv", "3,0 1", "3,0 one", "encoding: '0 one' is not an encoding"),
        ("pareto.csv", "81.000,", "", "row 3: 11 fields where the header has 12"),
        ("pareto.csv", "latency_ms", "ms", "latency_ms: missing column"),
        ("history.csv", "140", "inf", "row 3: hypervolume: must be a finite number, got inf"),
        ("history.csv", "evaluated", "seen", "seen: unknown column"),
        ("config.yaml", "objectives: [top1", "objectives: [top2", "objectives: "),
    ],
)
def test_damage_is_one_line_with_file_and_place(
    folder: Path, name: str, old: str, new: str, message: str
) -> None:
    path = folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_run(folder)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", made_runs.HEADER + ",encoding\n"])
def test_an_empty_front_is_damage(folder: Path, text: str) -> None:
    (folder / "pareto.csv").write_text(text)
    with pytest.raises(ValueError, match=r"is empty|no rows"):
        load_run(folder)


def test_equal_names_become_paths(tmp_path: Path) -> None:
    folders = [made_runs.make(tmp_path / parent / "run", POINTS) for parent in ("a", "b")]
    folders.append(made_runs.make(tmp_path / "other", POINTS))
    assert [run.name for run in load_runs(folders)] == [str(folders[0]), str(folders[1]), "other"]


def test_a_folder_named_twice_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="is listed twice"):
        load_runs([folder, folder.parent / "." / "one"])


@pytest.mark.parametrize(
    ("field", "named"), [("scenario", "unknown scenario 'x'"), ("recipe", "unknown recipe 'x'")]
)
def test_a_configuration_with_a_name_that_is_not_known_is_named(folder: Path, field: str, named: str) -> None:
    file = folder / "config.yaml"
    file.write_text(re.sub(rf"^{field}: .*$", f"{field}: x", file.read_text(), flags=re.MULTILINE))
    with pytest.raises(ValueError, match=named) as caught:
        load_run(folder)
    assert str(caught.value).startswith(str(file))
