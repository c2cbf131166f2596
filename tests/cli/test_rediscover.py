"""rediscover: the two studies as commands."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import hvnas.studies.rediscovery as studies
from hvnas.studies.rediscovery import slimmed
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


TRAINED = ("--data", "digits", "--train-size", "32", "--test-size", "16", "--resolution", "32")


def test_coatnet_s_layouts_trained_on_data(
    hvnas, tmp_path: Path, coatnet_ranks: LayoutRanks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "rediscover_coatnet", lambda: coatnet_ranks)
    asked = ("rediscover", "coatnet", *TRAINED, "--trainings", "2", "--out", tmp_path / "out")
    result = hvnas(*asked)
    assert result.exit_code == 0, result.output
    assert "Each trained alone on digits, 32 images at most: recipe brief, epochs 1, seeds 2" in result.stdout
    assert "Differences in top-1, and their 5-95 % intervals over seeds" in result.stdout
    again = hvnas(*asked, "--json")
    assert " from seed " not in again.stderr
    data = json.loads(again.stdout)
    trained = data["trained"]
    assert {each["network"] for each in trained["networks"]} == set(coatnet_ranks.layouts)
    assert len(trained["differences"]) == 10 and trained["seeds"] == 2
    names = [Path(path).name for path in data["written"]]
    assert names[-2:] == ["rediscover-coatnet-trained.csv", "rediscover-coatnet-differences.csv"]
    assert (tmp_path / "out" / "standalone.csv").is_file()


def test_what_a_supernet_of_the_data_finds_is_trained(
    hvnas, tmp_path: Path, study: Rediscovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "rediscover_efficientformer", lambda **_: study)
    monkeypatch.setattr(slimmed, "with_supernet", partial(slimmed.with_supernet, shares=(0.5,), evals=6))
    monkeypatch.setattr(slimmed, "SHOWN", 32)
    monkeypatch.chdir(tmp_path)
    asked = ("rediscover", "efficientformer", "--with", "supernet", *TRAINED, "--trainings", "2")
    result = hvnas(*asked, "--out", "out", "--json")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "runs" / "metaformer-tiny-digits" / "supernet.json").is_file()
    data = json.loads(result.stdout)
    trained = {name for row in data["trained"]["networks"] for name in row["network"].split(" and ")}
    assert trained == {each["way"] for each in data["with_supernet"]["found"]} >= {"supernet", "all four"}
    assert "next epoch" not in hvnas(*asked, "--out", "out", "--json").stderr
    own = ("--with", "supernet:runs/metaformer-tiny-digits", "--out", "out")
    other = hvnas("rediscover", "efficientformer", *own, "--data", "shapes")
    assert other.exit_code == 2
    assert "metaformer-tiny-digits was trained on digits, not shapes" in other.stderr


def test_bad_input_is_refused_in_one_line(hvnas, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for args, said in (
        (("poolformer",), "unknown family 'poolformer'"),
        (("efficientformer", "--with", "magic"), "'magic' cannot be added"),
        (("coatnet", "--with", "supernet:net"), "nothing to slim"),
        (("efficientformer", "--with", f"supernet:{tmp_path}"), "holds no supernet"),
        (("coatnet", "--out", tmp_path / "taken"), "is a file; name a folder"),
        (("efficientformer", "--evals", "0"), "evals: must be >= 1"),
        (("coatnet", "--data", "digits"), "out: is missing"),
        (("coatnet", "--data", "digits", "--out", tmp_path / "a", "--trainings", "1"), "must be >= 2, got 1"),
        (("coatnet", "--data", "digits", "--out", tmp_path / "a", "--resolution", "40"), "multiple of 16"),
        (("coatnet", "--data", "photographs", "--out", tmp_path / "a"), "unknown data"),
        (("coatnet", "--epochs", "2"), "data: is missing; name it with --data, or omit --epochs"),
        (("efficientformer", "--data", "digits", "--out", tmp_path / "a"), "add --with supernet"),
    ):
        result = hvnas("rediscover", *args)
        assert result.exit_code in (1, 2), result.output
        assert said in result.stderr and result.stderr.count("\n") == 1
