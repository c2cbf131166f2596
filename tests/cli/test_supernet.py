"""``hvnas supernet train`` and a search with what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hvnas.cli import _progress


@pytest.fixture
def train(hvnas, tiny_files: Path, tmp_path: Path):
    def run(*more: object):
        options = [
            "--space",
            tiny_files / "small.yaml",
            "--data",
            "shapes",
            "--train-size",
            16,
            "--test-size",
            16,
        ]
        options += [
            "--recipe",
            tiny_files / "short.yaml",
            "--epochs",
            1,
            "--bn-calib",
            16,
            "--device",
            "cpu",
        ]
        return hvnas("supernet", "train", "--out", tmp_path / "run", *options, *more)

    return run


@pytest.mark.slow
def test_workers_of_ray_train_what_one_process_trains(train, hvnas, tiny_files: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    shared = train("--engine", "ray", "--workers", 2, "--json")
    assert shared.exit_code == 0, shared.stderr
    (entry,) = json.loads(shared.stdout)["history"]
    (tmp_path / "run").rename(tmp_path / "shared")
    alone = train("--json")
    (other,) = json.loads(alone.stdout)["history"]
    assert entry["loss"] == pytest.approx(other["loss"], rel=0.05)


def test_workers_without_ray_are_refused(train, tmp_path: Path) -> None:
    assert "add --engine ray" in error(train("--workers", 2))
    assert not (tmp_path / "run").exists()


def error(result) -> str:
    """The one line that a command ends in."""
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith("hvnas: error: ")
    return str(line)


def test_training_prints_what_recalibration_does(train, hvnas, tmp_path: Path) -> None:
    result = train("--scheme", "single-path", "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert (facts["scheme"], facts["epochs"], facts["bn_calib"]) == ("single-path", 1, 16)
    assert [entry["epoch"] for entry in facts["history"]] == [1]
    names = ["largest", "smallest", "random 1", "random 2", "random 3"]
    assert [member["name"] for member in facts["members"]] == names
    largest, smallest = facts["members"][:2]
    assert largest["macs"] > smallest["macs"] > 0
    assert all(
        0 <= member[key] <= 100 for member in facts["members"] for key in ("top1", "top1_uncalibrated")
    )
    assert "MiB while training" in result.stderr

    again = hvnas("supernet", "train", "--out", tmp_path / "run", "--resume", "--json")
    assert json.loads(again.stdout) == facts, "a finished training has nothing left to do"
    assert "choose another folder" in error(train("--scheme", "single-path"))
    assert "scheme: the supernet" in error(train("--scheme", "fair", "--resume"))


def test_tables_without_recalibration_and_nothing_else_when_quiet(
    train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress, "_SECONDS_BETWEEN_LINES", 0.0)
    result = train("--bn-calib", 0, "--scheme", "fair", "--paths", 2, "-q")
    assert result.exit_code == 0
    assert result.stderr == "" and result.stdout.splitlines()[:2] == ["", "Epochs"]
    lines = result.stdout.splitlines()
    assert "Members with inherited weights, BatchNorm as trained" in lines
    assert any(line.split()[:1] == ["largest"] and "–" in line for line in lines)
    assert lines[-1].startswith("search with --estimator supernet:")


def test_a_search_takes_it_as_an_estimator(train, hvnas, tiny_files: Path, tmp_path: Path) -> None:
    assert train().exit_code == 0
    result = hvnas(
        "search",
        "--space",
        tiny_files / "small.yaml",
        "--estimator",
        f"supernet:{tmp_path / 'run'},device=cpu",
        "--device",
        "iphone12",
        "--budget-ms",
        100,
        "--outside",
        "allow",
        "--strategy",
        "random",
        "--evals",
        3,
        "--out",
        tmp_path / "search",
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    best = json.loads(result.stdout)["best"]
    config = yaml.safe_load((tmp_path / "search" / "config.yaml").read_text(encoding="utf-8"))
    assert config["estimator"] == f"supernet:{tmp_path / 'run'},device=cpu"
    assert len(config["estimator_hash"]) == 12, "the weights are on record"
    kept = (tmp_path / "run" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(kept) == 3
    assert any(json.loads(line)["top1"] == [pytest.approx(best["top1"])] for line in kept)


def test_a_supernet_is_ranked(
    train, hvnas, tiny_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train("--scheme", "single-path").exit_code == 0
    monkeypatch.setattr(_progress, "_SECONDS_BETWEEN_LINES", 0.0)
    # The space holds fewer members than are looked at for bins: more draws only find the same again.
    monkeypatch.setattr("hvnas.studies.alone.MOST", 640)
    options = ["--out", tmp_path / "rank", "--archs", 4, "--bins", 2, "--spread", 0.5, "--rival", "params"]
    options += ["--recipe", tiny_files / "short.yaml", "--epochs", 1, "--device", "cpu"]
    result = hvnas("supernet", "rank", tmp_path / "run", *options)
    assert result.exit_code == 0, result.stderr
    assert "8 steps; " in result.stderr and "1 of 2 steps; " in result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["params"] in [line[:1] for line in lines]
    assert ["another", "seed"] in [line[:2] for line in lines]
    assert any("networks of one size at least half as well" in line for line in result.stdout.splitlines())
    again = hvnas("supernet", "rank", tmp_path / "run", *options, "--json", "-q")
    assert again.stderr == ""
    facts = json.loads(again.stdout)
    assert [entry["name"] for entry in facts["ranked"]] == ["single-path (run)", "params"]
    assert len(facts["members"]) == facts["networks"] == 4
    assert "seeds: must be >= 2" in error(hvnas("supernet", "rank", tmp_path / "run", *options, "--seeds", 1))
