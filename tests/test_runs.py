"""A run is a folder: claimed once, its request in one file, locked, logged, rid of what a cut left."""

from __future__ import annotations

import json
import multiprocessing
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hvnas._runs import RunFolder, RunKind


@dataclass(frozen=True, kw_only=True)
class Request:
    what: str
    sizes: tuple[int, ...] = (1, 2)
    share: float | None = None


class Job(RunFolder[Request]):
    kind = RunKind(
        config=Request,
        file="job.json",
        schema="test.job/1",
        taken="holds a job already; go on with it",
        foreign="holds no job; choose another",
        missing="holds no job; begin one",
        folders=("parts",),
    )


class YamlJob(Job):
    kind = RunKind(
        config=Request,
        file="job.yaml",
        schema="test.job/1",
        taken="holds a job already",
        foreign="holds no job",
        missing="holds no job",
        lock=".state/lock",
    )


@pytest.mark.parametrize("kind", [Job, YamlJob])
def test_a_request_is_read_as_it_was_written(tmp_path: Path, kind: type[Job]) -> None:
    request = Request(what="a", sizes=(3,), share=0.5)
    kind(tmp_path / "run").claim(request, beside={"note.txt": "x"})
    assert kind(tmp_path / "run").config == request
    assert (tmp_path / "run" / "note.txt").read_text() == "x"
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'run'}: holds a job already")):
        kind(tmp_path / "run").claim(request)


def test_the_bytes_of_both_kinds_of_files(tmp_path: Path) -> None:
    Job(tmp_path / "j").create(Request(what="a"))
    YamlJob(tmp_path / "y").create(Request(what="a"))
    data = {"schema": "test.job/1", "what": "a", "sizes": [1, 2], "share": None}
    assert (tmp_path / "j" / "job.json").read_text() == json.dumps(data, indent=1) + "\n"
    assert (tmp_path / "y" / "job.yaml").read_text() == (
        "schema: test.job/1\nwhat: a\nsizes: [1, 2]\nshare: null\n"
    )


@pytest.mark.parametrize("kind", [Job, YamlJob])
@pytest.mark.parametrize("left", [".job.json.x1.part", ".archs.x", "lock"])
def test_what_a_cut_left_before_a_run_began_takes_no_folder(
    tmp_path: Path, kind: type[Job], left: str
) -> None:
    folder = kind(tmp_path)
    path = tmp_path / (kind.kind.lock if left == "lock" else left)
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    folder.claim(Request(what="a"))
    assert folder.holds_run


@pytest.mark.parametrize("other", ["file", ".state/state", "parts/x", ".lock.txt"])
def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, other: str) -> None:
    path = tmp_path / "run" / other
    path.parent.mkdir(parents=True)
    path.write_text("x")
    before = sorted(tmp_path.rglob("*"))
    for kind in (Job, YamlJob):
        with pytest.raises(ValueError, match="holds no job"):
            kind(tmp_path / "run").claim(Request(what="a"))
    with pytest.raises(ValueError, match="holds no job"):
        Job(path).claim(Request(what="a"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"schema": "test.job/1"}', "what: is missing; give it a value; restore the file"),
        ('{"schema": "test.job/1", "what": "a", "sizes": ["x"]}', "sizes.0: must be a whole number, got 'x'"),
        ('{"schema": "other/1", "what": "a"}', "schema: must be test.job/1, got 'other/1'"),
        ("[1]", "must hold a mapping with schema: test.job/1, found list"),
        ("{", "not valid JSON"),
    ],
)
def test_a_damaged_request_names_file_and_field(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'job.json'}: {says}")) as caught:
        _ = Job(tmp_path).config
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="holds no job; begin one"):
        _ = Job(tmp_path / "none").config


def claim(path: Path, what: str, results: multiprocessing.Queue[str]) -> None:
    try:
        Job(path).claim(Request(what=what))
        results.put(what)
    except ValueError as error:
        results.put(str(error))


def test_of_many_processes_one_gets_the_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=claim, args=(tmp_path / "run", f"{i}", results)) for i in range(8)]
    for worker in workers:
        worker.start()
    said = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    (winner,) = (each for each in said if each.isdigit())
    assert Job(tmp_path / "run").config == Request(what=winner)
    assert all(each.isdigit() or "holds a job already" in each or "another process" in each for each in said)


def test_a_process_that_dies_gives_the_lock_back(tmp_path: Path) -> None:
    code = f"""
import os, pathlib, hvnas._runs
with hvnas._runs.locked(pathlib.Path({str(tmp_path)!r}) / ".lock"):
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / ".lock").exists()
    folder = Job(tmp_path)
    message = "another process is at work on this run"
    with folder.locked(), pytest.raises(ValueError, match=message), folder.at_work():
        pass


def test_what_was_half_written_goes_when_the_run_goes_on(tmp_path: Path) -> None:
    folder = Job(tmp_path)
    folder.claim(Request(what="a"))
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / ".model.onnx.x1.part").mkdir()
    (tmp_path / "parts" / ".model.onnx.x1.part" / "weights").write_text("half")
    (tmp_path / ".state.x2.part").write_text("half")
    (tmp_path / "mine.part").write_text("whole")
    with folder.at_work():
        assert {path.name for path in tmp_path.rglob("*")} == {"job.json", ".lock", "parts", "mine.part"}


@pytest.mark.parametrize("before", ["", "2026-01-01 00:00:00 cu"])
def test_lines_of_a_log_stand_alone(tmp_path: Path, before: str) -> None:
    (tmp_path / "log.txt").write_text(before)
    Job(tmp_path).log("one")
    Job(tmp_path).log("two")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line[20:] for line in lines] == [*([before[20:]] if before else []), "one", "two"]
