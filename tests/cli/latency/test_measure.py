"""``hvnas latency plan`` and ``measure`` with a backend that computes its times."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import hvnas.latency.measure.plan as planning
from hvnas.latency import load_device
from hvnas.testing.latency import FormulaBackend, registered

SMALL = ("--space", "efficientformer", "--backend", "formula", "--ops", 200, "--networks", 10, "--blocks", 6)
PLAN = ("latency", "plan", *SMALL)
MEASURE = ("latency", "measure", *SMALL)


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FormulaBackend]:
    """Known as ``formula``; few networks are looked at, and the folder is empty."""
    monkeypatch.setattr(planning, "LOOKED_AT", 12)
    monkeypatch.chdir(tmp_path)
    with registered("formula", FormulaBackend()) as backend:
        yield backend


def test_a_plan(hvnas, backend: FormulaBackend) -> None:
    result = hvnas(*PLAN, "--no-probe")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "12 members of efficientformer and its fixed points hold" in result.stdout
    assert "6 blocks at two depths and 10 whole networks" in result.stdout
    assert "conv_pointwise" in result.stdout and "Time:" not in result.stdout
    assert not backend.timed


def test_a_plan_with_its_time(hvnas, backend: FormulaBackend) -> None:
    assert "Time: about " in hvnas(*PLAN).stdout
    assert 0 < len(backend.timed) < 60


def test_a_plan_as_json(hvnas) -> None:
    facts = json.loads(hvnas(*PLAN, "--json").stdout)
    assert (facts["space"], facts["seed"], facts["networks"]) == ("efficientformer", 0, 10)
    assert facts["ops"]["distinct"] > facts["ops"]["chosen"] >= 200 and facts["blocks"]["chosen"] == 6
    assert sum(group["chosen"] for group in facts["groups"].values()) == facts["ops"]["chosen"]
    assert facts["seconds"] > 0


def test_a_table_is_measured_loaded_and_not_measured_again(hvnas, backend: FormulaBackend) -> None:
    result = hvnas(*MEASURE, "--out", "own")
    assert result.exit_code == 0
    assert result.stdout.startswith("own.yaml: 2") and "(0 too noisy to use), 6 blocks, 10" in result.stdout
    assert "Next: hvnas latency validate --device own.yaml" in result.stdout
    assert load_device("own.yaml").info.runtime == "formula"
    backend.timed.clear()
    again = json.loads(hvnas(*MEASURE, "--out", "own.yaml", "--json").stdout)
    assert again["device"] == "own.yaml" and again["rows"]["networks"] == 10
    assert not backend.timed
    result = hvnas("latency", "predict", "--device", "own.yaml", "--arch", "efficientformer_l1", "--json")
    facts = json.loads(result.stdout)
    (found,) = facts["latency"].values()
    assert found["ms"] > 0


def test_other_numbers_under_the_same_name_are_refused(hvnas, backend: FormulaBackend) -> None:
    assert hvnas(*MEASURE, "--out", "own").exit_code == 0
    before = {path: path.read_bytes() for path in Path().iterdir()}
    for more in (("--seed", 1), ("--space", "poolformer"), ("--noise", 0.1)):
        result = hvnas(*MEASURE, "--out", "own", *more)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert "the table own.yaml was begun with" in result.stderr and "--out" in result.stderr
    assert before == {path: path.read_bytes() for path in Path().iterdir()}


def test_a_shipped_device_is_not_written_over(hvnas, repo_root: Path) -> None:
    for suffix in (".yaml", ".csv"):
        shutil.copy(repo_root / "latency_tables" / f"iphone12{suffix}", Path())
    result = hvnas(*MEASURE, "--out", "iphone12")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "iphone12.yaml: holds a calibrated device; choose another name" in result.stderr


def test_a_file_of_the_same_name_is_kept(hvnas) -> None:
    Path("own.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    result = hvnas(*MEASURE, "--out", "own")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "own.csv: holds rows, but there is no own.yaml" in result.stderr
    assert Path("own.csv").read_text(encoding="utf-8") == "a,b\n1,2\n"


@pytest.mark.parametrize("text", ["not: [yaml", "schema: hvnas.arch/1\n", ""])
def test_a_file_that_is_no_device(hvnas, text: str) -> None:
    Path("own.yaml").write_text(text, encoding="utf-8")
    result = hvnas(*MEASURE, "--out", "own")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1) and "own.yaml" in result.stderr
    assert Path("own.yaml").read_text(encoding="utf-8") == text


WRONG = [
    (("--space", "nowhere"), "nowhere"),
    (("--backend", "torch-cqu"), "unknown backend 'torch-cqu'"),
    (("--threads", 0), "--threads"),
    (("--threads", "many"), "--threads"),
    (("--ops", 100), "ops must be >= 200, got 100"),
    (("--networks", 3), "networks must be >= 10, got 3"),
    (("--blocks", -1), "--blocks"),
    (("--blocks", 1), "1 blocks cannot stand for"),
    (("--seed", -1), "--seed"),
    (("--colour", "red"), "--colour"),
]


@pytest.mark.parametrize(("args", "says"), WRONG)
@pytest.mark.parametrize("command", [(*PLAN, "--no-probe"), (*MEASURE, "--out", "own")])
def test_one_line(hvnas, command: tuple[object, ...], args: tuple[object, ...], says: str) -> None:
    result = hvnas(*command, *args)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert says in result.stderr
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "--out"),
        (("--out", "none/own"), "there is no folder none to write to"),
        (("--out", "own", "--noise", 7), "--noise"),
    ],
)
def test_one_line_of_measure(hvnas, args: tuple[object, ...], says: str) -> None:
    result = hvnas(*MEASURE, *args)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert says in result.stderr
