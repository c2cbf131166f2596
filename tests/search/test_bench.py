"""The bench of the search: its sections run and count; how fast anything is no test asks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hvnas.search.evaluations import Archive
from hvnas.space import load_space


@pytest.fixture
def script(repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """``script("bench_search")`` imports it as it is when it runs."""
    monkeypatch.syspath_prepend(str(repo_root / "scripts"))

    def load(name: str) -> ModuleType:
        from importlib import import_module

        return import_module(name)

    return load


@pytest.fixture
def quick(script: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str]]:
    """``quick("rates")`` runs a section of the short form; its report and what it printed."""

    def run(section: str) -> tuple[Any, str]:
        report = script("bench_search").main(["--quick", "--only", section])
        return report, capsys.readouterr().out

    return run


def test_every_bar_is_marked(script: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    report = script("_bench_common").Report()
    report.at_least(3, 3.0, "as much")
    report.at_least(3, 2.999, "less")
    report.at_most(11, 11.5, "more")
    report.at_most(11, float("nan"), "nothing")
    assert report.short == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["PASS", "short", "short", "short"]
    assert lines[0].endswith("as much: 3.00  (bar: >= 3)")


def test_rates_compare_the_three(quick: Callable[..., tuple[Any, str]]) -> None:
    pytest.importorskip("pymoo")
    _, printed = quick("rates")
    for contender in ("evolution", "pymoo NSGA-II", "Optuna NSGA-II"):
        assert re.search(rf"{contender} +\d+ evaluations +[\d,]+ archs/s", printed), printed
    assert len(re.findall(r"^(?:PASS |short) .*\(bar: >= (?:50,000|3|30)\)$", printed, re.M)) == 3


def test_samplers_get_the_same_time(quick: Callable[..., tuple[Any, str]]) -> None:
    report, printed = quick("samplers")
    assert len(re.findall(r"hypervolume +\d+\.\d+ +[\d,]+ evaluated in", printed)) == 3
    assert printed.count("(bar: >= 1)") == 1
    assert report.short == printed.count("\nshort ")


def test_the_truth_is_listed_and_found(quick: Callable[..., tuple[Any, str]], repo_root: Path) -> None:
    _, printed = quick("optimum")
    size = load_space(repo_root / "scripts" / "data" / "hybrid_quick.yaml").size
    assert f"all {size:,} architectures" in printed
    assert re.search(rf"{int(0.05 * size)} evaluations \(5\.0%\), 3 seeds: optimum found by \d", printed)
    assert all(0 < float(v) <= 1 for v in re.findall(r"(?:median|minimum) (\d\.\d+)", printed))


def test_the_space_that_is_listed_is_small_and_holds_a_known_network() -> None:
    space = load_space("hybrid-small")
    assert space.spec.parent == "hybrid-mobile"
    assert 1_000_000 <= space.size <= 2_000_000
    assert space.fixed_points() == ("efficientformer_l1",)


def test_scales_run_in_processes_of_their_own(quick: Callable[..., tuple[Any, str]]) -> None:
    _, printed = quick("scale")
    assert re.findall(r"(\d[\d,]*) evaluations +\d", printed) == ["200", "2,000"]
    assert "2,000 evaluations over 200, times" in printed


def test_a_strategy_is_ended_when_its_time_is_over(script: Callable[[str], Any]) -> None:
    archive = Archive(3)
    told = []

    def run(clock: Any) -> None:
        for number in range(1000):
            told.append(number)
            clock.advanced(archive, evals=1000)

    found, _ = script("_bench_contenders").within(0.0, run)
    assert found is archive
    assert told == [0]
    found, _ = script("_bench_contenders").within(1e9, run)
    assert len(told) == 1001


def test_volume_lies_between_the_floor_and_the_budget(script: Callable[[str], Any]) -> None:
    volume = script("_bench_common").volume
    costs = np.array([[-80.0, 1.0], [-70.0, 0.5], [-59.0, 0.1], [-90.0, 2.5]])
    assert volume(costs, ms=2.0) == pytest.approx(20 * 1.0 + 10 * 0.5)


def test_only_known_sections_are_taken(
    script: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        script("bench_search").main(["--only", "speed"])
    assert "rates" in capsys.readouterr().err
