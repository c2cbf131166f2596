"""What a full disk, a damaged file, a changed file or a second process does to a run: one line, no harm."""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy

from hvnas.search.runs.checkpoint import FolderCheckpoint, State, Stopped
from hvnas.search.runs.folder import SearchFolder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nothing befell."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    toy.run(out)
    return toy.outputs(out)


def line_of(caught: pytest.ExceptionInfo[ValueError]) -> str:
    line = str(caught.value)
    assert "\n" not in line
    return line


def cut(out: Path, strategy: str = "evolution", *, evals: int = 3000, saves: int = 3) -> None:
    """A run that is stopped after some saves, as a kill would."""
    kept, count = FolderCheckpoint.save, 0

    def save(checkpoint: FolderCheckpoint, state: State) -> None:
        nonlocal count
        kept(checkpoint, state)
        count += 1
        if count == saves:
            raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FolderCheckpoint, "save", save)
        with pytest.raises(ZeroDivisionError):
            toy.run(out, strategy, evals=evals, saved_every=0.0)


# Which sync fails: of config.yaml, of the keys, of the state, of a network, of files of the front.
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("file", ["config.yaml", "seen.bin", "state.npz", "archs", "pareto.csv", "best.yaml"])
def test_a_disk_that_takes_no_more(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, code: int, file: str
) -> None:
    out, sync = tmp_path / "run", os.fsync

    def fail(handle: int) -> None:
        if file in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(code, os.strerror(code))
        sync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(ValueError) as caught:
            toy.run(out, saved_every=0.0)
    assert re.match(rf"{out}(/[\w./]+)?: cannot be written: {os.strerror(code).lower()}; ", line_of(caught))
    assert not (out / "best.yaml").exists()
    assert {path.name for path in out.rglob(".*")} == {".state"}
    toy.run(out)
    assert toy.outputs(out) == whole


@pytest.mark.parametrize("limit", [200, 3000, 10_000, 20_000])
def test_files_that_may_grow_no_further(tmp_path: Path, whole: dict[str, bytes], limit: int) -> None:
    # The system writes as much as fits and then fails: what a full disk does too.
    out, before = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(ValueError) as caught:
            toy.run(out, saved_every=0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written: file too large" in line_of(caught)
    toy.run(out)
    assert toy.outputs(out) == whole


def test_a_stopped_front_stays_where_the_next_one_cannot_be_written(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    cut(out)
    with monkeypatch.context() as patched:
        # The strategy at rest, as it is when a signal asks for a stop.
        patched.setattr("hvnas.search.runs.session.Session.due", lambda _: True)
        patched.setattr("hvnas.search.runs.session.Session.save", stopped)
        assert toy.run(out).stopped
    before = toy.outputs(out)

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("hvnas.search.runs.folder.write_atomic", full)
        with pytest.raises(ValueError, match="no space left on device"):
            toy.run(out)
    assert toy.outputs(out) == before != whole
    toy.run(out)
    assert toy.outputs(out) == whole


def stopped(session: object, state: State) -> None:
    raise Stopped


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    cut(out)
    for path in (out / ".state", out):
        path.chmod(0o500)
    before = toy.everything(out)
    with pytest.raises((OSError, ValueError)):
        toy.run(out)
    assert toy.everything(out) == before


def test_two_processes_on_one_folder(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    cut(out)
    before = toy.everything(out)
    with SearchFolder(out).locked():
        with pytest.raises(ValueError) as caught:
            toy.run(out)
        assert "another process is at work on this run" in line_of(caught)
        assert toy.everything(out) == before
    toy.run(out)
    assert toy.outputs(out) == whole


def test_a_system_without_locks_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fcntl", None)
    with SearchFolder(tmp_path).locked(), SearchFolder(tmp_path).locked():
        assert (tmp_path / ".state" / "lock").is_file()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip, halve, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("file", ["state.npz", "seen.bin"])
def test_damage_is_named_and_harms_nothing(tmp_path: Path, damage: Callable[[Path], None], file: str) -> None:
    out = tmp_path / "run"
    cut(out)
    damage(out / ".state" / file)
    before = toy.everything(out)
    with pytest.raises(ValueError) as caught:
        toy.run(out)
    assert line_of(caught).startswith(f"{out / '.state' / file}: ")
    assert toy.everything(out) == before


def test_no_byte_of_a_state_changes_unseen(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"a": rng.integers(9, size=(4, 3)).astype(np.int16), "b": rng.random(3), "c": np.empty((0, 0))}
    FolderCheckpoint(tmp_path, every=0).save(State(arrays=arrays, meta={"x": [1, 2.5]}))
    good = (tmp_path / "state.npz").read_bytes()
    for place in rng.integers(len(good), size=300).tolist():
        (tmp_path / "state.npz").write_bytes(good[:place] + bytes([good[place] ^ 0x41]) + good[place + 1 :])
        try:
            state = FolderCheckpoint(tmp_path, every=0).load()
        except ValueError:
            continue
        assert state is not None and state.meta == {"x": [1, 2.5]} and state.arrays.keys() == arrays.keys()
        assert all(np.array_equal(state.arrays[name], array) for name, array in arrays.items())


def test_the_log_goes_on_after_half_a_line(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path)
    (tmp_path / "log.txt").write_text("2026-01-01 00:00:00 resu")
    folder.log("one")
    folder.log("two")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line[20:] for line in lines] == ["resu", "one", "two"]


@pytest.mark.parametrize("file", ["best.yaml", "pareto.csv", "history.csv", "study.journal", "log.txt"])
def test_a_folder_in_the_place_of_a_file_is_named_and_nothing_is_lost(
    tmp_path: Path, whole: dict[str, bytes], file: str
) -> None:
    out = tmp_path / "run"
    toy.run(out)
    (out / file).unlink()
    (out / file).mkdir()
    before = files_in(out)
    with pytest.raises(ValueError) as caught:
        toy.run(out)
    assert line_of(caught).startswith(f"{out / file}: cannot be written: is a directory")
    after = files_in(out)
    assert {name: data for name, data in after.items() if name != "log.txt"} == {
        name: data for name, data in before.items() if name != "log.txt"
    }


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
