"""What a run folder holds."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import optuna
import pytest
import toy
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from hvnas._yaml import dump_yaml
from hvnas.arch import load_arch
from hvnas.search import Engine, resume, search
from hvnas.search.runs import folder
from hvnas.search.runs.folder import SearchFolder
from hvnas.search.runs.result import SearchResult


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, toy.run(out)


def test_holds_what_it_should(finished: tuple[Path, SearchResult]) -> None:
    out, result = finished
    names = {path.name for path in out.iterdir()}
    assert names == {
        ".state",
        "archs",
        "best.yaml",
        "config.yaml",
        "history.csv",
        "log.txt",
        "pareto.csv",
        "study.journal",
    }
    assert {path.stem for path in (out / "archs").iterdir()} == {found.name for found in result.front}


def test_best_is_the_architecture_found(finished: tuple[Path, SearchResult]) -> None:
    out, result = finished
    best = load_arch(out / "best.yaml")
    assert best == result.best.arch
    assert best.found is not None
    assert best.found["latency_ms"] == round(result.best.latency_ms, 4)
    assert best.found["choices"]["stages.0.depth"] == result.best.row[0] + 1
    assert max(found.objective for found in result.front) == result.best.objective


def test_front_csv_holds_the_front(finished: tuple[Path, SearchResult]) -> None:
    out, result = finished
    with (out / "pareto.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = np.array([[int(i) for i in line["encoding"].split()] for line in lines])
    assert np.array_equal(rows, result.archive.rows)
    times = result.archive.evaluations.ms.tolist()
    assert [line["latency_ms"] for line in lines] == [f"{ms:.4f}" for ms in times]
    files = [out / line["file"] for line in lines if line["file"]]
    assert files == [found.file for found in result.front]


def test_optuna_loads_the_study(finished: tuple[Path, SearchResult]) -> None:
    out, result = finished
    storage = JournalStorage(JournalFileBackend(str(out / "study.journal")))
    study = optuna.load_study(study_name="run", storage=storage)
    assert study.metric_names == ["top1", "latency_ms"]
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert len(study.trials) == len(result.front)
    for trial, found in zip(study.trials, result.front, strict=True):
        assert trial.values == [found.top1, found.latency_ms]
        assert trial.user_attrs["arch"] == found.arch.hash
        assert trial.params["stages.0.depth"] == found.row[0] + 1


def test_same_seed_same_files(finished: tuple[Path, SearchResult], tmp_path: Path) -> None:
    out, _ = finished
    toy.run(tmp_path / "again")
    assert toy.outputs(tmp_path / "again") == toy.outputs(out)


def test_json_object(finished: tuple[Path, SearchResult]) -> None:
    out, result = finished
    told = result.to_json()
    keys = "best pareto front counts limit evaluated seconds parts space device devices objectives"
    assert list(told) == [*keys.split(), "constraints", "strategy", "recipe", "seed", "stopped", "out"]
    numbers = "latency_ms latency_low latency_high p_within_budget inside top1 top1_sd params macs".split()
    for entry in (told["best"], *told["pareto"]):
        assert list(entry) == ["file", "name", *numbers]
        assert Path(entry["file"]).is_file()
    assert told["best"]["file"] == str(out / "best.yaml")
    assert told["evaluated"] == 3000
    assert told["stopped"] is False
    assert told["counts"] == {"front": len(result.archive), "files": len(told["pareto"]), "guesses": 0}
    assert [found["name"] for found in told["front"]] == [found.name for found in result.shown]


def test_history_grows_to_the_end(finished: tuple[Path, SearchResult]) -> None:
    out, result = finished
    moments = [[float(value) for value in line] for line in toy.history(out)]
    evaluated, volumes, best = (list(column) for column in zip(*moments, strict=True))
    assert evaluated[-1] == 3000 and sorted(set(evaluated)) == evaluated
    assert 0 < volumes[0] < volumes[-1] and sorted(volumes) == volumes
    assert best[-1] == pytest.approx(result.best.objective, abs=1e-4)


def test_what_stands_in_several_places_is_written_out() -> None:
    shared = [4, 3]
    assert dump_yaml({"a": shared, "b": shared}) == "a: [4, 3]\nb: [4, 3]\n"


@pytest.mark.parametrize("content", ["config.yaml", "something", ".state/state.npz"])
def test_taken_folder_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / content).parent.mkdir(exist_ok=True)
    (tmp_path / content).write_text("x")
    with pytest.raises(ValueError, match="choose another name"):
        SearchFolder(tmp_path).refuse_if_taken()


def test_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        resume(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("evals", "many", "evals: "),
        ("evals", 0, "evals: must be a whole number >= 1, got 0"),
        ("seed", -1, "seed: must be a whole number >= 0, got -1"),
        ("budget", 3, "budget: unknown field"),
        ("other_hashes", ["x"], "must be lists of one length"),
        ("schema", "hvnas.run/9", "schema: must be hvnas.run/1"),
    ],
)
def test_bad_config_names_file_and_field(
    finished: tuple[Path, SearchResult], tmp_path: Path, field: str, value: object, says: str
) -> None:
    data = yaml.safe_load((finished[0] / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data | {field: value}))
    with pytest.raises(ValueError) as caught:
        resume(tmp_path)
    line = str(caught.value)
    assert says in line and "config.yaml" in line and "\n" not in line
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_configuration_is_read_as_it_was_written(tmp_path: Path) -> None:
    several = replace(
        toy.config(),
        device=("toy-device", "/a/slow.yaml"),
        device_hash=("0", "1"),
        margin=(0.1, 0.25),
        constraints=("params<=3000000",),
        engine=Engine(name="ray", storage="postgresql://host/db"),
        classes=10,
    )
    for name, config in {"one": toy.config(), "several": several}.items():
        SearchFolder(tmp_path / name).create(config)
        assert SearchFolder(tmp_path / name).config == config
    data = yaml.safe_load((tmp_path / "several" / "config.yaml").read_text())
    assert (data["device"], data["others"]) == ("toy-device", ["/a/slow.yaml"])
    assert (data["margin"], data["other_margins"]) == (0.1, [0.25])
    assert (data["engine"], data["storage"]) == ("ray", "postgresql://host/db")


def test_an_option_that_came_later_is_kept_where_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_LATER", tuple(name for name in folder._LATER if name != "classes"))
    for classes in (None, 10):
        config = replace(toy.config(), classes=classes)
        SearchFolder(tmp_path / f"{classes}").create(config)
        data = yaml.safe_load((tmp_path / f"{classes}" / "config.yaml").read_text())
        assert ("classes" in data) == (classes is not None)
        assert list(data)[1:16] == list(folder._ALWAYS)
        assert SearchFolder(tmp_path / f"{classes}").config == config


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("device", 3, "device: "),
        ("others", [3], "others: "),
        ("margin", ".nan", "margin: "),
        ("engine", "cloud", "engine: "),
        ("outside", "maybe", "outside: "),
        ("seed", None, "seed: is missing; restore the file"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_named_as_the_file_has_it(
    tmp_path: Path, field: str, value: object, says: str
) -> None:
    SearchFolder(tmp_path / "run").create(toy.config())
    file = tmp_path / "run" / "config.yaml"
    data = yaml.safe_load(file.read_text()) | {field: value}
    if field == "others":
        data |= {"other_hashes": ["0"], "other_margins": [0.0]}
    file.write_text(yaml.safe_dump({name: each for name, each in data.items() if each is not None}))
    with pytest.raises(ValueError, match=says) as caught:
        _ = SearchFolder(tmp_path / "run").config
    assert f"{file}: {says}" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("storage", "journal:shared.journal", "storage: evolution keeps no study"),
        ("strategy", "slimming", "strategy: slimming "),
        ("strategy", "annealing", "annealing"),
        ("recipe", "magic", "unknown recipe"),
    ],
)
def test_a_configuration_that_cannot_go_on_is_named(
    tmp_path: Path, field: str, value: str, says: str
) -> None:
    asked = Event()
    asked.set()
    out = tmp_path / "run"
    search("poolformer", "iphone12", budget_ms=3.0, strategy="evolution", evals=100, out=out, stop=asked)
    file = out / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {field: value}))
    with pytest.raises(ValueError, match=says) as caught:
        resume(out)
    assert str(caught.value).startswith(f"{file}: ")
