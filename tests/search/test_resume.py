"""A run that is killed goes on to the front that it would have had."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import toy

from hvnas.report import load_run
from hvnas.search.evaluations import Archive
from hvnas.search.run import execute
from hvnas.search.runs.checkpoint import Checkpoint, FolderCheckpoint, State, Stopped
from hvnas.search.runs.folder import SearchFolder
from hvnas.search.runs.session import History, Session, Silent


def wait_for_new_state(out: Path, process: subprocess.Popen[bytes], *, since: float) -> None:
    state = out / ".state" / "state.npz"
    while process.poll() is None and not (state.is_file() and state.stat().st_mtime > since):
        time.sleep(0.005)


def kill_soon(process: subprocess.Popen[bytes], *, after: float) -> None:
    time.sleep(after)
    assert process.poll() is None, "the run is long enough to be killed"
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("strategy", "evals", "pause", "kills"), [("evolution", 6000, 0.03, 2), ("nsga2", 400, 0.003, 1)]
)
def test_killed_run_resumes_to_the_same_files(
    tmp_path: Path, strategy: str, evals: int, pause: float, kills: int
) -> None:
    out, since = tmp_path / "cut", 0.0
    for number in range(kills):
        process = toy.start(out, strategy, evals=evals, pause=pause)
        wait_for_new_state(out, process, since=since)
        kill_soon(process, after=0.05 * number)
        since = time.time()
    assert not (out / "best.yaml").exists()
    # What a kill in the middle of a write leaves.
    (out / ".state" / ".state.npz.abc.part").write_text("half")
    (out / ".abc.part" / "archs").mkdir(parents=True)
    toy.run(out, strategy, evals=evals)
    toy.run(tmp_path / "whole", strategy, evals=evals)
    assert toy.outputs(out) == toy.outputs(tmp_path / "whole")
    assert toy.history(out) == toy.history(tmp_path / "whole")
    assert {path.name for path in out.rglob(".*")} == {".state"}


@pytest.mark.parametrize(("strategy", "pause"), [("predictor", 0.01), ("grid", 0.01)])
def test_expensive_estimates_are_lost_by_no_kill(tmp_path: Path, strategy: str, pause: float) -> None:
    (tmp_path / "a").mkdir()
    out, evals = tmp_path / "a" / "run", 40
    process = toy.start(out, strategy, evals=evals, pause=pause, expensive=True)
    wait_for_new_state(out, process, since=0.0)
    kill_soon(process, after=0.1)
    reported = (out.parent / toy.REPORTED).read_text().split()
    state = FolderCheckpoint(out / ".state", every=0).load()
    assert state is not None
    saved = state.meta["evaluated"] if strategy == "grid" else len(state.arrays["rows"])
    assert 0 < int(reported[-1]) <= saved < evals
    result = toy.run(out, strategy, evals=evals, expensive=True)
    assert result.evaluated == evals
    made = (out.parent / toy.ESTIMATED).read_text().splitlines()
    # The one in hand when the kill came is made again, and no other.
    assert len(set(made)) >= len(made) - 1
    (tmp_path / "b").mkdir()
    toy.run(tmp_path / "b" / "run", strategy, evals=evals, expensive=True)
    assert toy.outputs(out) == toy.outputs(tmp_path / "b" / "run")


def test_killed_before_the_first_checkpoint(tmp_path: Path) -> None:
    toy.run(tmp_path / "whole")
    folder = toy.SearchFolder(tmp_path / "cut")
    folder.create(toy.config())
    toy.run(tmp_path / "cut")
    assert toy.outputs(tmp_path / "cut") == toy.outputs(tmp_path / "whole")


def test_killed_before_it_was_begun(tmp_path: Path) -> None:
    (tmp_path / "run" / ".state").mkdir(parents=True)
    (tmp_path / "run" / ".state" / "lock").touch()
    (tmp_path / "run" / ".config.yaml.abc.part").write_text("schema: hv")
    toy.SearchFolder(tmp_path / "run").refuse_if_taken()
    assert toy.run(tmp_path / "run", evals=200).evaluated == 200


def test_finished_run_resumes_without_evaluating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = toy.run(tmp_path / "run")
    before = toy.outputs(tmp_path / "run")
    monkeypatch.setattr("hvnas.search.strategies.evolution.Evolution.run", None)
    again = toy.run(tmp_path / "run")
    assert again.evaluated == first.evaluated
    assert toy.outputs(tmp_path / "run") == before


class Notes(Silent, Checkpoint):
    """A watcher and a checkpoint that is always due: what came when."""

    def __init__(self, *, is_due: bool = True) -> None:
        self.happened: list[str] = []
        self.is_due = is_due

    def advanced(self, archive: Archive, *, evals: int) -> None:
        self.happened.append(f"reported {archive.evaluated}")

    def due(self) -> bool:
        return self.is_due

    def save(self, state: State) -> None:
        self.happened.append(f"saved {state.meta['evaluated']}")


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("is_due", [False, True])
def test_what_is_reported_is_saved_where_a_save_is_due(stop: bool, is_due: bool) -> None:
    notes, asked, archive = Notes(is_due=is_due), Event(), Archive(4)
    session = Session(notes, notes, History(np.zeros(2)), asked)
    archive.evaluated = 3
    if stop:
        asked.set()
    session.advanced(archive, evals=10)
    if not session.due():
        assert notes.happened == ["reported 3"]
        return
    assert notes.happened == []
    try:
        session.save(State(arrays={}, meta={"evaluated": 3}))
    except Stopped:
        assert stop
    assert notes.happened == ["saved 3", "reported 3"]


def test_the_end_is_reported_and_comes_too_late_to_stop() -> None:
    notes, asked, archive = Notes(), Event(), Archive(4)
    session = Session(notes, notes, History(np.zeros(2)), asked)
    session.advanced(archive, evals=10)
    asked.set()
    session.finish(State(arrays={}, meta={"evaluated": 0}))
    assert notes.happened == ["saved 0", "reported 0"]
    assert not asked.is_set()


def test_a_resumed_run_takes_the_sum_of_its_parts(tmp_path: Path) -> None:
    out, stop = tmp_path / "run", Event()

    class Stopping(Silent):
        def advanced(self, archive: Archive, *, evals: int) -> None:
            if archive.evaluated >= 500:
                stop.set()

    folder = SearchFolder(out)
    problem = toy.problem(out, pause=0.02)
    cut = execute(problem, toy.config(), folder=folder, progress=Stopping(), stop=stop)
    assert cut.stopped and cut.parts == 1
    started = time.perf_counter()
    whole = execute(problem, toy.config(), folder=folder, resumed=True)
    own = time.perf_counter() - started
    assert whole.parts == 2
    # The second part sleeps 0.02 seconds a batch; its front is written after the clock has stopped.
    assert cut.seconds + 0.1 < whole.seconds < cut.seconds + own
    assert " s, the sum of 2 parts,\n" in repr(whole)
    assert (out / "log.txt").read_text().endswith(f", {whole.seconds:.1f} s, the sum of 2 parts\n")
    read = load_run(out)
    assert (read.seconds, read.parts) == (whole.seconds, 2)
    again = execute(problem, toy.config(), folder=folder, resumed=True)
    assert (again.seconds, again.parts) == (whole.seconds, 2)


def test_keys_of_a_cut_save_are_ignored(tmp_path: Path) -> None:
    keys = np.arange(1, 11, dtype=np.uint64)
    checkpoint = FolderCheckpoint(tmp_path, every=0)
    checkpoint.save(State(arrays={"x": np.ones(3)}, meta={"n": 1}, keys=keys[:6]))
    with (tmp_path / "seen.bin").open("ab") as file:
        file.write(b"\x01" * 13)
    continued = FolderCheckpoint(tmp_path, every=0)
    state = continued.load()
    assert state is not None
    assert np.array_equal(state.keys, keys[:6])
    continued.save(State(arrays=state.arrays, meta=state.meta, keys=keys[6:]))
    last = FolderCheckpoint(tmp_path, every=0).load()
    assert last is not None
    assert np.array_equal(last.keys, keys)
    assert last.meta == {"n": 1}
