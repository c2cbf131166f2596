"""accuracy proxies: what it prints, for people and for programs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hvnas.accuracy.proxies import list_proxies, load_proxy, registry
from hvnas.arch import load_arch


def test_a_row_for_each_proxy_and_network(hvnas, small: list[Path]) -> None:
    lines = hvnas("accuracy", "proxies", *small, "--proxy", "free", "--proxy", "naswot").stdout.splitlines()
    assert lines[0].split() == ["proxy", "network", "score", "place", "seconds"]
    rows = [line.split() for line in lines[1:-1]]
    assert [row[0] for row in rows] == ["free"] * 3 + ["naswot"] * 3
    assert sorted(int(row[3]) for row in rows[:3]) == [1, 2, 3]
    assert "seed 0" in lines[-1]


def test_json_holds_the_scores_of_the_library(hvnas, small: list[Path]) -> None:
    found = json.loads(hvnas("accuracy", "proxies", *small[:2], "--seed", 3, "--json").stdout)
    archs = [load_arch(path) for path in small[:2]]
    assert found["seed"] == 3
    assert found["networks"] == [arch.name for arch in archs]
    assert tuple(found["proxies"]) == list_proxies()
    expected = [load_proxy("zico").score(arch, seed=3) for arch in archs]
    assert found["proxies"]["zico"]["scores"] == pytest.approx(expected)
    assert len(found["proxies"]["zico"]["seconds"]) == 2


def test_failures_are_said(hvnas, small: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = registry.ProbedProxy("synflow", lambda subject: math.nan)
    monkeypatch.setitem(registry._PROXIES, "synflow", broken)
    command = ("accuracy", "proxies", small[0], "--proxy", "synflow")
    assert "1 of 1 scores could not be computed; they come last." in hvnas(*command).stdout
    column = json.loads(hvnas(*command, "--json").stdout)["proxies"]["synflow"]
    assert column["scores"] == [None]
    assert column["failed"] == 1


def test_bad_names_are_refused_in_one_line(hvnas, small: list[Path]) -> None:
    for wrong in (("no_such_network",), (small[0], "--proxy", "zicoo")):
        result = hvnas("accuracy", "proxies", *wrong)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
