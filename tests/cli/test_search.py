"""search and resume: one real run, looked at from every side."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from shutil import copytree

import pytest
import yaml

from hvnas.accuracy import Surrogate
from hvnas.accuracy.estimator import values_of
from hvnas.arch import load_arch

OPTIONS = ("--space", "efficientformer", "--device", "iphone12", "--evals", "300", "--seed", "1")
KEYS = (
    "file name latency_ms latency_low latency_high p_within_budget inside top1 top1_sd top1_cross_fitted "
    "top1_cross_fitted_sd params macs"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search") / "run"


@pytest.fixture(scope="module")
def plain(hvnas, folder: Path) -> str:
    """What the run printed."""
    result = hvnas("search", "--budget-ms", "2", *OPTIONS, "--out", folder)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def data(hvnas, folder: Path, plain: str) -> dict:
    """The finished run, shown again as JSON."""
    result = hvnas("resume", folder, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_json_has_the_agreed_keys(data: dict, folder: Path) -> None:
    keys = "best better_than pareto front counts limit evaluated seconds parts space device devices"
    rest = "objectives constraints strategy recipe seed stopped out"
    assert list(data) == [*keys.split(), *rest.split()]
    assert list(data["best"]) == KEYS
    assert all(list(found) == KEYS for found in data["pareto"])
    assert data["evaluated"] == 300
    assert (data["space"], data["device"]) == ("efficientformer", "iphone12")
    assert (data["recipe"], data["seed"]) == ("modern300", 1)
    assert data["objectives"] == ["top1", "latency_ms"]
    assert (data["strategy"], data["stopped"]) == ("evolution", False)
    assert data["out"] == str(folder)


def test_the_best_keeps_the_budget_and_its_file_loads(data: dict, folder: Path) -> None:
    best = data["best"]
    assert best["latency_ms"] <= 2
    assert best["p_within_budget"] >= 0.9
    assert best["file"] == str(folder / "best.yaml")
    program = load_arch(best["file"]).lower()
    assert (program.params, program.macs) == (best["params"], best["macs"])


def test_the_cross_fitted_number_is_shown_wherever_the_estimate_is(
    data: dict, plain: str, folder: Path, surrogate: Surrogate
) -> None:
    best = load_arch(data["best"]["file"])
    found = surrogate.cross_fitted_estimate(values_of(surrogate.columns, [best]))
    assert found is not None
    told = {"top1_cross_fitted": found.mean[0], "top1_cross_fitted_sd": found.sd[0]}
    with (folder / "pareto.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    for name, value in told.items():
        assert data["best"][name] == pytest.approx(value, abs=6e-4)
        assert best.found is not None and best.found[name] == data["best"][name]
        assert float(rows[best.name][name]) == data["best"][name]
    shown = f"{found.mean[0]:.1f} ± {found.sd[0]:.1f}"
    assert f"  cross-fitted   {shown}, by fits" in plain
    assert f"  {shown}  " in next(line for line in of_the_front(plain) if line.endswith(best.name))


def test_show_tells_both_numbers_of_a_network_that_was_found(hvnas, data: dict, folder: Path) -> None:
    best = data["best"]
    shown = "{top1_cross_fitted:.1f} ± {top1_cross_fitted_sd:.1f}".format(**best)
    lines = hvnas("show", folder).stdout.splitlines()
    assert any(line.startswith("  top-1 ") and line.endswith(f", cross-fitted {shown}") for line in lines)
    assert any(line.startswith("  found ") and f"cross-fitted {shown}," in line for line in lines)
    told = json.loads(hvnas("show", folder, "--json").stdout)
    assert told["top1_cross_fitted"] == pytest.approx(best["top1_cross_fitted"], abs=6e-4)


def test_the_front_ends_in_the_cross_fitted_numbers_of_those_that_have_a_file(folder: Path) -> None:
    with (folder / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = ["top1_cross_fitted", "top1_cross_fitted_sd"]
    assert list(rows[0])[-3:] == ["encoding", *names]
    assert all((row["file"] != "") == (row[name] != "") for row in rows for name in names)


def test_the_best_is_weighed_against_published_networks_within_the_budget(
    data: dict, plain: str, surrogate: Surrogate
) -> None:
    best, rivals = load_arch(data["best"]["file"]), data["better_than"]
    assert best.found is not None and best.found["better_than"] == rivals
    for rival in rivals:
        model = load_arch(rival["model"])
        assert rival["latency_ms"] <= 2
        assert rival["published_top1"] == (model.published or {})["top1"]
        (chance,) = surrogate.chances_of_better(values_of(surrogate.columns, [best, model]))
        assert rival["p_better"] == pytest.approx(chance, abs=2e-4)
        estimate = surrogate.estimate([model])
        assert rival["top1"] == pytest.approx(estimate.mean[0], abs=6e-4)
        line = next(x for x in plain.splitlines() if x.startswith(f"  better than    {rival['model']}, "))
        assert f"published {rival['published_top1']:.1f} as {rival['published_recipe']}" in line


def test_the_reach_comes_first_and_the_sections_follow(plain: str) -> None:
    lines = plain.splitlines()
    assert lines[0].startswith("Strategy: evolution (")
    assert lines[1].startswith("Latencies within reach: ")
    headings = ["Pareto front", "Best: ", "Nearest models", "How far to trust", "Written to"]
    places = [next(i for i, line in enumerate(lines) if line.startswith(start)) for start in headings]
    assert places == sorted(places)


def test_no_styles_no_boxes_no_folded_lines(plain: str, data: dict, folder: Path) -> None:
    assert "\x1b" not in plain
    assert not set(plain) & set("│┃─━┌└╭")
    assert f"Written to {folder}" in plain.splitlines()
    assert any(line.endswith(data["front"][0]["name"]) for line in plain.splitlines())


def of_the_front(printed: str) -> list[str]:
    """The lines below the heading of the front."""
    lines = printed.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Pareto front"))
    return lines[start + 2 : lines.index("", start)]


def test_the_front_is_thinned_between_its_ends_and_shows_no_guesses(plain: str, data: dict) -> None:
    names = [line.split()[-1] for line in of_the_front(plain)[:12]]
    known = [found["name"] for found in data["pareto"] if found["top1_sd"] <= 7]
    assert len(names) == min(12, len(known)) and len(known) < len(data["pareto"])
    assert [names[0], names[-1]] == [known[0], known[-1]]
    assert [name for name in known if name in names] == names
    assert [found["name"] for found in data["front"]] == names


def test_what_is_left_out_is_counted(plain: str, data: dict, folder: Path) -> None:
    with (folder / "pareto.csv").open() as file:
        lines = list(csv.DictReader(file))
    guesses = sum(float(line["top1_sd"]) > 7 for line in lines)
    files = len(list((folder / "archs").iterdir()))
    assert data["counts"] == {"front": len(lines), "files": files, "guesses": guesses}
    assert of_the_front(plain)[-3:-1] == [
        f"  written as files: {files}, one for each step of 1 % along the front",
        f"  left out: {guesses} networks whose accuracy is a guess (± more than 7 points)",
    ]


def test_the_limit_is_the_same_wherever_it_is_told(hvnas, plain: str, data: dict, folder: Path) -> None:
    line = f"limit: {data['limit']['text']}"
    assert data["limit"]["best"] == ["budget"]
    assert of_the_front(plain)[-1] == f"  {line}"
    assert f" {line}\n" in (folder / "log.txt").read_text()
    report = json.loads(hvnas("report", folder, "--out", folder.parent / "page.html", "--json").stdout)
    assert report["runs"]["runs"][0]["limit"] == data["limit"]["text"]
    assert line in (folder.parent / "page.html").read_text()


def test_one_search_has_one_duration(hvnas, plain: str, data: dict, folder: Path) -> None:
    """In the search's own words, as JSON, in the folder, in a report, in a comparison, and shown again."""
    shown = f"{data['seconds']:.1f}"
    assert f"(300 evaluated in {shown} s)" in plain
    assert (folder / "history.csv").read_text().splitlines()[-1].split(",")[1] == f"{data['seconds']:.3f}"
    ends = [line for line in (folder / "log.txt").read_text().splitlines() if " finished: " in line]
    assert len(ends) >= 2 and all(end.endswith(f", {shown} s") for end in ends)
    page = folder.parent / "again.html"
    report = json.loads(hvnas("report", folder, "--out", page, "--json").stdout)
    assert report["runs"]["runs"][0]["seconds"] == data["seconds"]
    assert f"networks in {shown} s" in page.read_text()
    other = folder.parent / "other"
    copytree(folder, other)
    compared = json.loads(hvnas("compare", folder, other, "--json").stdout)
    assert [run["seconds"] for run in compared["runs"]] == [data["seconds"]] * 2
    assert f" {shown} " in hvnas("compare", folder, other).stdout
    assert f"(300 evaluated in {shown} s)" in hvnas("resume", folder).stdout


def test_the_best_is_shown_stage_by_stage(plain: str, data: dict) -> None:
    best, arch = data["best"], load_arch(data["best"]["file"])
    assert f"Best: {best['name']}" in plain
    assert f"{best['latency_ms']:.3f} ms on iphone12" in plain
    assert f"{best['params']:,}" in plain
    assert f"{best['macs']:,}" in plain
    assert "modern300 (300 epochs" in plain
    for stage in arch.stages:
        for _, run in stage.runs:
            assert f"{run.block.type} × {run.depth}" in plain


def test_models_of_papers_and_errors_are_named(plain: str) -> None:
    assert any(line.startswith("  efficientformer_l1 ") for line in plain.splitlines())
    assert "iphone12 is calibrated, not measured" in plain
    assert "top-1 is estimated, not trained" in plain
    assert "Kendall tau" in plain


def test_the_files_named_are_there(plain: str, data: dict, folder: Path) -> None:
    names = plain.splitlines()[-1].strip().split(", ")
    assert {"best.yaml", "config.yaml", "pareto.csv", "study.journal"} <= set(names)
    assert all((folder / name.split()[0]).exists() for name in names)
    assert f"archs ({len(data['pareto'])} networks)" in names
    assert all(Path(found["file"]).is_file() for found in data["pareto"])


def test_the_whole_front_is_counted(plain: str, folder: Path) -> None:
    with (folder / "pareto.csv").open() as file:
        count = sum(1 for _ in csv.reader(file)) - 1
    assert f"Pareto front: {count} networks, 12 of them shown (300 evaluated in " in plain


def test_what_others_put_into_the_folder_is_not_listed(hvnas, plain: str, folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    assert hvnas("resume", folder).stdout.splitlines()[-1] == plain.splitlines()[-1]
    (folder / "notes.txt").unlink()


def test_resume_takes_a_bound_written_in_another_way(hvnas, tmp_path: Path) -> None:
    search = ("search", "--budget-ms", "2", *OPTIONS, "--evals", "30", "--out", tmp_path / "run")
    begun = hvnas(*search, "--constraint", "params<=9M", "--constraint", "latency@iphone12<=1800us")
    assert begun.exit_code == 0, begun.output
    same = ("--constraint", "latency ≤ 1.8 ms", "--constraint", "params =< 9000000")
    again = hvnas(*search, "--resume", *same)
    assert again.exit_code == 0, again.output
    other = hvnas(*search, "--resume", "--constraint", "params<=8M")
    assert other.exit_code == 2
    assert "was begun with latency_ms<=1.8, params<=9000000, not params<=8000000" in other.stderr


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        (("macs>=80e6", "macs<=60e6"), "no network can meet both macs>=80000000 and macs<=60000000"),
        (("latency_ms>=3",), "the budget of 2 ms leaves at most 1.832, margin included"),
        (("top1>=101",), "no network can meet top1>=101: there can be at most 100"),
    ],
)
def test_bounds_that_leave_nothing_are_told_before_the_search(
    hvnas, tmp_path: Path, constraints: tuple[str, ...], said: str
) -> None:
    bounds = [word for text in constraints for word in ("--constraint", text)]
    result = hvnas("search", "--budget-ms", "2", *OPTIONS, *bounds, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.output.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_show_takes_the_run_folder(hvnas, folder: Path, data: dict) -> None:
    shown = json.loads(hvnas("show", folder, "--json").stdout)
    assert shown["name"] == data["best"]["name"]
    assert shown["latency"]["iphone12"]["ms"] == pytest.approx(data["best"]["latency_ms"], abs=1e-3)
    assert shown["top1"] == pytest.approx(data["best"]["top1"], abs=1e-2)
    assert shown["published"] is None


def test_a_taken_folder_is_refused_and_left_as_it_was(hvnas, folder: Path, data: dict) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    result = hvnas("search", "--budget-ms", "2", *OPTIONS, "--out", folder)
    assert result.exit_code == 2
    assert "holds a run already" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_resume_goes_on_with_the_same_options_only(hvnas, folder: Path, data: dict) -> None:
    again = hvnas("search", "--budget-ms", "2", *OPTIONS, "--out", folder, "--resume", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["pareto"] == data["pareto"]
    other = hvnas("search", "--budget-ms", "3", *OPTIONS, "--out", folder, "--resume")
    assert other.exit_code == 2
    assert "budget_ms: the run in" in other.stderr
    assert "was begun with 2.0, not 3.0" in other.stderr


def test_resume_compares_what_is_given_and_nothing_else(hvnas, folder: Path, data: dict) -> None:
    alone = hvnas("search", "--device", "iphone12", "--out", folder, "--resume", "--json")
    assert alone.exit_code == 0, alone.output
    assert json.loads(alone.stdout)["pareto"] == data["pareto"]
    for options, said in (
        (("--seed", "1"), None),
        (("--seed", "0"), "was begun with 1, not 0"),
        (("--margin", "0.5"), "margin: the run in"),
        (("--recipe", "basic300"), "was begun with modern300, not basic300"),
        (("--classes", "10"), "classes: the run in"),
        (("--objective", "params"), "was begun with top1, latency_ms, not params"),
        (("--objective", "top1", "--objective", "latency_ms@iphone12"), None),
        (("--constraint", "params<=6M"), "constraints: the run in"),
        (("--device", "cpu-i7-12700h"), "was begun with iphone12, not iphone12, cpu-i7-12700h"),
    ):
        again = hvnas("search", "--device", "iphone12", *options, "--out", folder, "--resume", "-q")
        assert again.exit_code == (0 if said is None else 2), again.output
        assert (said or "") in again.stderr
    assert hvnas("resume", folder, "--json").exit_code == 0


def test_a_scenario_is_searched_for_kept_and_compared(hvnas, tmp_path: Path, data: dict) -> None:
    large = ("search", "--budget-ms", "2", *OPTIONS, "--out", tmp_path / "run", "--scenario", "large-data")
    found = hvnas(*large, "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["best"]["top1"] != data["best"]["top1"]
    assert load_config(tmp_path / "run")["scenario"] == "large-data"
    assert hvnas(*large, "--resume", "-q").exit_code == 0
    other = hvnas(*large[:-1], "imagenet1k", "--resume")
    assert "scenario: the run in" in other.stderr and "begun with large-data" in other.stderr
    wrong = hvnas(*large[:-3], tmp_path / "no", "--scenario", "imagenet21k")
    assert wrong.exit_code == 2 and "There are: imagenet1k, large-data" in wrong.stderr
    assert not (tmp_path / "no").exists()


def test_a_new_folder_is_chosen_where_none_is_named(
    hvnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "iphone12-2ms").mkdir(parents=True)
    result = hvnas("search", "--budget-ms", "2", *OPTIONS, "--evals", "20", "--json")
    assert json.loads(result.stdout)["out"] == "runs/iphone12-2ms-2"
    assert (tmp_path / "runs" / "iphone12-2ms-2" / "best.yaml").is_file()


def test_json_keeps_standard_output_to_itself(hvnas, tmp_path: Path) -> None:
    result = hvnas("search", "--budget-ms", "2", *OPTIONS, "--evals", "20", "--out", tmp_path / "r", "--json")
    assert json.loads(result.stdout)["evaluated"] == 20
    assert "\nLatencies within reach: " in result.stderr


@pytest.mark.parametrize("extra", [(), ("--margin", "0")])
def test_a_budget_below_reach_exits_with_3(hvnas, tmp_path: Path, extra: tuple[str, ...]) -> None:
    out = tmp_path / "run"
    result = hvnas("search", "--budget-ms", "0.1", *OPTIONS, *extra, "--out", out)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "smallest latency found is 0." in result.stderr
    assert "  stem " in result.stderr
    assert result.stderr.splitlines()[-1].startswith("hvnas: error: budget_ms: ")
    assert not out.exists()


def test_a_budget_below_reach_as_json(hvnas, tmp_path: Path) -> None:
    result = hvnas("search", "--budget-ms", "0.1", *OPTIONS, "--out", tmp_path / "run", "--json")
    assert result.exit_code == 3
    data = json.loads(result.stdout)
    assert data["best"] is None
    assert data["pareto"] == []
    assert data["smallest"]["latency_ms"] > 0.1
    assert data["smallest"]["arch"]["schema"] == "hvnas.arch/1"
    assert data["stopped"] is False
    assert result.stderr.count("\n") == 1


def test_where_nothing_is_inside_the_gate_the_rule_and_the_flag_are_named(hvnas, tmp_path: Path) -> None:
    """All networks of this space take an input that the gate does not admit; none has attention."""
    space = tmp_path / "large.yaml"
    text = (
        "schema: hvnas.space/1\nname: large\nparent: coatnet\nresolution: [384]\nstage: {global_depth: [0]}\n"
    )
    space.write_text(text)
    options = ("--space", space, "--device", "iphone12", "--evals", "20")
    result = hvnas("search", "--budget-ms", "20", *options, "--out", tmp_path / "no")
    assert result.exit_code == 3, result.output
    assert "'input'" in result.stderr
    assert "--outside allow" in result.stderr
    allowed = hvnas("search", "--budget-ms", "20", *options, "--outside", "allow", "--out", tmp_path / "yes")
    assert allowed.exit_code == 0, allowed.output
    assert "outside what iphone12 is good for" in allowed.stdout


def test_without_a_budget_nothing_is_too_slow(hvnas, tmp_path: Path) -> None:
    result = hvnas("search", *OPTIONS, "--evals", "64", "--out", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.output
    run = json.loads(result.stdout)
    budget = float(load_config(tmp_path / "run")["budget_ms"])
    assert max(found["latency_ms"] for found in run["pareto"]) <= budget


def load_config(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())
