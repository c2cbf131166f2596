"""rediscover: the two studies as commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hvnas.studies.rediscovery as studies
from hvnas.studies.rediscovery.coatnet import LayoutRanks
from hvnas.studies.rediscovery.efficientformer import Rediscovery

SMALL = ("--evals", "60", "--peers", "20")


def test_efficientformer_as_tables(hvnas, study: Rediscovery, monkeypatch: pytest.MonkeyPatch) -> None:
    real = studies.rediscover_efficientformer

    def two(**asked: Any) -> Rediscovery:
        largest = real(models=("efficientformer_l7",), **asked)
        return replace(largest, models=(*study.models, *largest.models))

    monkeypatch.setattr(studies, "rediscover_efficientformer", two)
    result = hvnas("rediscover", "efficientformer", *SMALL)
    assert result.exit_code == 0, result.output
    for said in (
        "efficientformer_l1 and what was found at its",
        "efficientformer_l7 and what was found at its",
        "The four patterns",
        "rules that rest on the family's papers: attention",
        "paper's percentile",
        "The probability that the best network has each pattern",
        "The best network stage by stage",
        "The paper's own space slimmed as in the paper",
    ):
        assert said in result.stdout


def test_coatnet_as_json_and_files(
    hvnas, tmp_path: Path, coatnet_ranks: LayoutRanks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "rediscover_coatnet", lambda: coatnet_ranks)
    result = hvnas("rediscover", "coatnet", "--json", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert [each["protocol"] for each in data["protocols"]] == ["modern", "plain"]
    assert data["left_out"]["results"] > 20
    assert [Path(path).name for path in data["written"]] == [
        "rediscover-coatnet.csv",
        "rediscover-coatnet.png",
        "rediscover-coatnet-patterns.csv",
    ]
    assert all(Path(path).is_file() for path in data["written"])


def test_coatnet_as_tables(hvnas, coatnet_ranks: LayoutRanks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "rediscover_coatnet", lambda: coatnet_ranks)
    result = hvnas("rediscover", "coatnet")
    assert result.exit_code == 0, result.output
    assert "All patterns of C and T in four stages" in result.stdout
    assert "each pattern's place and its chance to be first" in result.stdout
    for name in coatnet_ranks.search.layouts:
        assert name in result.stdout


def test_bad_input_is_refused_in_one_line(hvnas, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for args, said in (
        (("poolformer",), "unknown family 'poolformer'"),
        (("efficientformer", "--with", "magic"), "'magic' cannot be added"),
        (("coatnet", "--with", "supernet:net"), "nothing to slim"),
        (("efficientformer", "--with", f"supernet:{tmp_path}"), "holds no supernet"),
        (("coatnet", "--out", tmp_path / "taken"), "is a file; name a folder"),
        (("efficientformer", "--evals", "0"), "evals: must be >= 1"),
    ):
        result = hvnas("rediscover", *args)
        assert result.exit_code in (1, 2), result.output
        assert said in result.stderr and result.stderr.count("\n") == 1
