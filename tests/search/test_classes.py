"""A search for as many classes as are asked for: what is counted is theirs, top-1 stays the estimator's."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvnas._files import read_yaml
from hvnas.accuracy import load_estimator
from hvnas.arch import load_arch
from hvnas.cli.app import app
from hvnas.latency import load_device
from hvnas.report.compare import compare
from hvnas.report.runs import load_run, settings_of
from hvnas.search import resume, search
from hvnas.search.making import make_problem
from hvnas.search.run import problem_of
from hvnas.space import load_space

DEVICE = "iphone12"
BOUNDS = ["params<=1M", "macs<=0.5G"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "ten"
    search(
        "hybrid-mobile", DEVICE, budget_ms=1.5, constraints=BOUNDS, classes=10, strategy="evolution",
        evals=300, out=folder,
    )  # fmt: skip
    return folder


def test_every_file_is_of_networks_with_these_classes(out: Path) -> None:
    config = read_yaml(out / "config.yaml", schema="hvnas.run/1")
    assert (config["classes"], config["resolution"]) == (10, None)
    device, surrogate = load_device(DEVICE), load_estimator("surrogate")
    rows = {row["name"]: row for row in csv.DictReader((out / "pareto.csv").open(encoding="utf-8"))}
    for file in [out / "best.yaml", *(out / "archs").glob("*.yaml")]:
        arch = load_arch(file)
        program, row = arch.lower(), rows[arch.name]
        assert arch.head.out == 10
        assert (program.params, program.macs) == (int(row["params"]), int(row["macs"]))
        assert program.params <= 1e6
        assert device.latency(program).ms == pytest.approx(float(row["latency_ms"]), abs=1e-4)
        top1 = surrogate.estimate([arch.with_(classes=1000)]).mean[0]
        assert top1 == pytest.approx(float(row["top1"]), abs=1e-3)
        assert surrogate.estimate([arch]).mean[0] == pytest.approx(top1, abs=1e-9)
        assert arch.found is not None
        assert arch.found["assumed"][-1] == (
            "10 classes: the evidence holds 1000; the estimate is that of the network trained on those"
        )


def test_bounds_on_size_admit_what_the_smaller_head_leaves_room_for(out: Path) -> None:
    best = load_arch(out / "best.yaml")
    wide = make_problem("hybrid-mobile", DEVICE, "surrogate", budget_ms=1.5, constraints=BOUNDS)
    ten = make_problem("hybrid-mobile", DEVICE, "surrogate", budget_ms=1.5, constraints=BOUNDS, classes=10)
    row = ten.space.encode(best)[None]
    assert (wide.space.encode(best) == row[0]).all()
    assert ten.allowed(row).all()
    at_ten, at_thousand = ten.evaluate(row), wide.evaluate(row)
    assert at_ten.params[0] < at_thousand.params[0]
    assert (at_ten.top1[0], at_ten.sd[0]) == (at_thousand.top1[0], at_thousand.sd[0])
    again = pickle.loads(pickle.dumps(ten)).evaluate(row)
    assert (again.params[0], again.top1[0]) == (at_ten.params[0], at_ten.top1[0])


def test_resume_show_and_report_say_the_same(out: Path) -> None:
    assert problem_of(load_run(out).config).image_size == (None, 10)
    result = resume(out)
    assert {found.arch.head.out for found in result.front} == {10}
    told = result.to_json()
    assert (told["classes"], "resolution" in told) == (10, False)
    assert told["assumed"] == load_arch(out / "best.yaml").found["assumed"]  # type: ignore[index]
    shown = CliRunner().invoke(app, ["show", str(out), "--device", DEVICE, "--json"])
    facts = json.loads(shown.stdout)
    assert (facts["classes"], facts["assumed"]) == (10, told["assumed"])
    for name in ("top1", "params", "macs"):
        assert facts[name] == pytest.approx(told["best"][name], abs=1e-3)
    assert "--classes 10" in settings_of(load_run(out), [load_device(DEVICE)]).command
    changed = CliRunner().invoke(
        app, ["search", "--device", DEVICE, "--classes", "7", "--resume", "--out", str(out)]
    )
    assert changed.exit_code == 2
    assert "classes: the run in" in changed.output and "begun with 10, not 7" in changed.output.replace(
        "\n", ""
    )


def test_runs_of_other_classes_do_not_compare(out: Path, tmp_path: Path) -> None:
    other = tmp_path / "thousand"
    search("hybrid-mobile", DEVICE, budget_ms=1.5, strategy="random", evals=20, out=other)
    with pytest.raises(ValueError, match=r"ten has 10 classes, thousand has those of its space"):
        compare([load_run(out), load_run(other)])


@pytest.mark.parametrize("name", ["surrogate+params", "params+surrogate", "surrogate"])
def test_combinations_read_each_part_with_its_own_head(name: str) -> None:
    space = load_space("hybrid-mobile")
    ten = make_problem(space, DEVICE, name, budget_ms=2, classes=10)
    thousand = make_problem(space, DEVICE, name, budget_ms=2)
    assert thousand.cheap
    assert ten.cheap == (name == "surrogate")


@pytest.mark.parametrize("classes", [0, -1, 10**12, True, 2.5])
def test_classes_out_of_limits_are_refused(classes: int) -> None:
    with pytest.raises(ValueError, match=r"^classes: must be a whole number from 1 to 1000000, got"):
        make_problem("hybrid-mobile", DEVICE, "surrogate", budget_ms=2, classes=classes)
    with pytest.raises(ValueError, match=r"^classes: must be a whole number from 1 to 1000000, got"):
        load_space("hybrid-tiny").at(classes=classes)


def test_an_estimator_with_images_of_other_classes_is_refused() -> None:
    train = "train:data=digits,train_size=16,test_size=16"
    with pytest.raises(ValueError, match=r"^classes: 7, but train:data=digits.* at 32 px, 10 classes; leave"):
        make_problem("hybrid-tiny", "cpu-i7-12700h", train, budget_ms=9, classes=7)
    assert make_problem("hybrid-tiny", "cpu-i7-12700h", train, budget_ms=9, classes=10).image_size == (32, 10)
