"""`hvnas report` as a user meets it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent.parent / "report"))

import hostile

SEARCH = "search --space efficientformer --device iphone12 --budget-ms 2 --evals 300 --seed 1".split()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, hvnas) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    assert hvnas(*SEARCH, "--constraint", "params<=3e7", "--out", folder).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def told(hvnas, run: Path) -> dict:
    result = hvnas("report", run, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_one_run_gets_its_page_beside_it(run: Path, told: dict) -> None:
    assert told["written"] == [str(run / "report.html")]
    page = (run / "report.html").read_text(encoding="utf-8")
    best = yaml.safe_load((run / "best.yaml").read_text())
    (network,) = told["networks"]
    assert network["name"] == best["name"] and best["name"] in page
    assert network["latency"]["iphone12"]["ms"] == best["found"]["latency_ms"]
    assert network["p_within_budget"] == best["found"]["p_within_budget"]
    assert network["accuracy"]["mean"] == best["found"]["top1"]
    crossed = {name: best["found"][name] for name in ("top1_cross_fitted", "top1_cross_fitted_sd")}
    assert {name: network["accuracy"][name] for name in crossed} == crossed
    shown = "{top1_cross_fitted:.1f} ± {top1_cross_fitted_sd:.1f}".format(**crossed)
    assert f"<dt>cross-fitted</dt><dd>{shown}</dd>" in page
    for rival in best["found"]["better_than"]:
        assert f"<dt>better than</dt><dd>{rival['model']}, with a chance of" in page
    assert told["reference"]["name"] == "efficientformer_l1"
    assert told["devices"][0]["said"] == "calibrated, not measured"


def test_the_command_on_the_page_redoes_the_run(hvnas, run: Path, told: dict, tmp_path: Path) -> None:
    program, *words = shlex.split(told["redo"][0]["command"])
    assert program == "hvnas"
    assert hvnas(*words, "--out", tmp_path / "again").exit_code == 0
    for name in ("config.yaml", "pareto.csv", "best.yaml"):
        assert (tmp_path / "again" / name).read_text() == (run / name).read_text()


def test_networks_are_told_on_the_screen_too(hvnas, tmp_path: Path) -> None:
    page, figures = tmp_path / "r.html", tmp_path / "figures"
    result = hvnas("report", "coatnet_0", "--out", page, "--figures", figures)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "ms iphone12 (calibrated)" in lines[0] and "cross-fitted" in lines[0]
    assert [line.split()[0] for line in lines[1:3]] == ["coatnet_0", "efficientformer_l1"]
    assert lines[-1].startswith(f"Written: {page}, {figures}/latency-1.png, ")
    assert any(line.startswith("iphone12 is calibrated, not measured") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["coatnet_0"], "out: name the page to write"),
        (["coatnet_0", "--out", "{}/r.pdf"], "ends in .html"),
        (["coatnet_0", "--out", "{}/no/r.html"], "there is no folder"),
        (["nothing", "--out", "{}/r.html"], "unknown model 'nothing'"),
        (["{}", "--out", "{}/r.html"], "holds no run"),
        (["coatnet_0", "--choose", "n", "--out", "{}/r.html"], "give exactly one run's folder"),
        (["coatnet_0", "--device", "nowhere", "--out", "{}/r.html"], "nowhere"),
        (["coatnet_0", "--device", "iphone12", "--device", "iphone12", "--out", "{}/r.html"], "twice"),
        (["coatnet_0", "--recipe", "magic", "--out", "{}/r.html"], "magic"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    hvnas, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = hvnas("report", *(argument.format(tmp_path) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_path_out_of_the_run_is_not_chosen(hvnas, run: Path, tmp_path: Path) -> None:
    result = hvnas("report", run, "--choose", "../best", "--out", tmp_path / "r.html")
    assert result.exit_code == 2 and "is not a network in" in result.stderr


@pytest.mark.parametrize("command", [["report", "--out", "{}/r.html"], ["show", "--device", "iphone12"]])
def test_hostile_names_reach_no_terminal(hvnas, tmp_path: Path, command: list[str]) -> None:
    arch = hostile.make_arch(tmp_path / "net.yaml")
    words = [word.format(tmp_path) for word in command]
    result = hvnas(words[0], arch, *words[1:])
    assert result.exit_code == 0, result.output
    for char in ("\x1b", "\x07", "\u202e"):
        assert char not in result.output
    assert "[red]" in result.output  # no markup of rich: shown as it is


def test_hostile_runs_reach_no_terminal(hvnas, tmp_path: Path) -> None:
    run = hostile.make_run(tmp_path / "run")
    for command in (["report", run], ["compare", run, hostile.make_run(tmp_path / "other")]):
        result = hvnas(*command)
        assert result.exit_code == 0, result.output
        assert "\x1b" not in result.output and "\u202e" not in result.output
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "config.yaml").write_text('schema: hvnas.run/1\n"evil\\e[31m[red]": 1\n')
    result = hvnas("report", bad)
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr and "[red]" in result.stderr
