"""`hvnas history`: the networks of a search in order, from its folder or its storage, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

ASK = tuple("--space hybrid-tiny --budget-ms 5 --device iphone12 --outside allow --evals 6".split())
SLOW = ("--estimator", "synthetic:seconds=0")
COLUMNS = (
    "number started_s seconds top1 top1_sd latency_ms macs params feasible best key encoding reason".split()
)


@pytest.fixture(scope="module")
def expensive(hvnas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "slow"
    assert hvnas("search", *ASK, *SLOW, "--strategy", "random", "--out", out).exit_code == 0
    return out


@pytest.fixture(scope="module")
def cheap(hvnas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "quick"
    ask = ("search", "--space", "efficientformer", "--budget-ms", 2, "--device", "iphone12", "--evals", 300)
    assert hvnas(*ask, "--out", out).exit_code == 0
    return out


def test_each_network_in_order(hvnas, expensive: Path) -> None:
    done = hvnas("history", expensive, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert done.exit_code == 0 and list(rows[0]) == COLUMNS and len(rows) == 6
    assert [int(row["number"]) for row in rows] == list(range(6))
    ends = [float(row["started_s"]) + float(row["seconds"]) for row in rows]
    assert ends == sorted(ends) and float(rows[0]["started_s"]) == 0
    best = [float(row["best"]) for row in rows if row["best"]]
    assert best == sorted(best)
    told = json.loads(hvnas("history", expensive, "--json").stdout)
    assert told["description"].startswith("every network") and len(told["networks"]) == 6
    assert [network["macs"] for network in told["networks"]] == [int(row["macs"]) for row in rows]
    text = hvnas("history", expensive).stdout.splitlines()
    assert len(text) == 7 and text[0].split()[:2] == ["trial", "s"]
    assert [line.split()[-1] for line in text[1:]] == [row["key"][:6] for row in rows]
    assert max(map(len, text)) <= 110
    # Names of files and of the front end in the same digits.
    front = list(csv.DictReader((expensive / "pareto.csv").read_text().splitlines()))
    encodings = {row["key"][:6]: row["encoding"] for row in rows}
    assert all(encodings[row["name"][-6:]] == row["encoding"] for row in front)


def test_a_search_by_generations_says_what_its_record_is(hvnas, cheap: Path) -> None:
    done = hvnas("history", cheap)
    assert (done.exit_code, done.stdout) == (0, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{cheap}: no history: 300 networks were evaluated in whole batches")
    told = json.loads(hvnas("history", cheap, "--json").stdout)
    assert told["networks"] == [] and told["description"] in line
    assert hvnas("history", cheap, "--format", "csv").stdout.strip().split(",") == COLUMNS


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_run_on_a_storage(hvnas, tmp_path: Path, kind: str) -> None:
    storage = f"journal:{tmp_path}/s.journal" if kind == "journal" else f"sqlite:///{tmp_path}/s.db"
    for name, evals in (("one", "4"), ("two", "6")):
        ask = (*ASK[:-1], evals, *SLOW, "--strategy", "tpe", "--storage", storage)
        assert hvnas("search", *ask, "--out", tmp_path / name).exit_code == 0
    told = [json.loads(hvnas("history", tmp_path / name, "--json").stdout) for name in ("one", "two")]
    assert told[0]["networks"] == told[1]["networks"] and len(told[0]["networks"]) == 6
    # The run's own study holds what was evaluated when it ended, by others too.
    lines = [(tmp_path / name / "study.journal").read_text().count('"op_code":4') for name in ("one", "two")]
    assert lines == [4, 6]
    file = tmp_path / ("s.journal" if kind == "journal" else "s.db")
    file.rename(tmp_path / "away")
    gone = hvnas("history", tmp_path / "one")
    (line,) = gone.stderr.splitlines()
    assert gone.exit_code == 2 and "is not there" in line and not file.exists()


def spoil_a_line(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:6], "no JSON\n", *lines[7:]]))


def spoil_an_evaluation(path: Path) -> None:
    path.write_text(path.read_text().replace('"evaluation":{"ms":', '"evaluation":{"us":', 1))


def spoil_a_time(path: Path) -> None:
    path.write_text(path.read_text().replace('"datetime_start":"2', '"datetime_start":"x', 1))


def spoil_a_row(path: Path) -> None:
    path.write_text(path.read_text().replace('"row":[', '"row":["a",', 1))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (spoil_a_line, "study.journal: line 7: not JSON"),
        (spoil_an_evaluation, "trial 0: evaluation: cannot be read"),
        (spoil_a_time, "study.journal: line "),
        (spoil_a_row, "trial 0: row: must be"),
        (lambda path: path.write_bytes(b"\x00\xff" * 9 + b"\n"), "study.journal: line 1: not"),
        (Path.unlink, "has no study.journal yet"),
        (lambda path: path.with_name("config.yaml").unlink(), "holds no run (no config.yaml)"),
    ],
)
def test_a_damaged_record_is_told_in_one_line(
    hvnas, expensive: Path, tmp_path: Path, harm: Callable[[Path], object], says: str
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for name in ("config.yaml", "study.journal"):
        (out / name).write_bytes((expensive / name).read_bytes())
    harm(out / "study.journal")
    before = {path: path.read_bytes() for path in out.iterdir()}
    done = hvnas("history", out)
    (line,) = done.stderr.splitlines()
    assert (done.exit_code, done.stdout) == (2, "") and says in line and len(line) <= 500
    assert str(out) in line and before == {path: path.read_bytes() for path in out.iterdir()}


def test_half_a_line_at_the_end_is_one_that_is_being_written(hvnas, expensive: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "study.journal"):
        (tmp_path / name).write_bytes((expensive / name).read_bytes())
    text = (tmp_path / "study.journal").read_text()
    (tmp_path / "study.journal").write_text(text[:-200])
    assert len(json.loads(hvnas("history", tmp_path, "--json").stdout)["networks"]) == 5


def test_a_folder_that_is_no_run(hvnas, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        done = hvnas("history", path)
        (line,) = done.stderr.splitlines()
        assert done.exit_code == 2 and f"{path}: holds no run" in line
