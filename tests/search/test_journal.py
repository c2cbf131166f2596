"""Journals that were damaged, and locks that other processes hold or left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sharing import proposer, step

from hvnas.search.shared import journal
from hvnas.search.shared import storage as optuna_storage
from hvnas.search.shared.journal import JournalLock, StorageError, open_journal

ROOT = Path(__file__).resolve().parents[2]
RECORD = b'{"op_code":4,"worker_id":"w","study_id":0}'


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("WARNING", logger="hvnas.waiting")
    return caplog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with one evaluation."""
    path = tmp_path / "m.journal"
    step(proposer(str(path)))
    return path


@contextmanager
def released_after(seconds: float, lock: Path) -> Iterator[None]:
    timer = threading.Timer(seconds, lock.unlink)
    timer.start()
    try:
        yield
    finally:
        timer.join()


class TestLock:
    @pytest.mark.parametrize("kind", ["a link to nowhere", "a link", "a file"])
    def test_one_that_was_left_is_taken_away_and_named(
        self, kind: str, path: Path, said: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal, "LOCK_GRACE_SECONDS", 1.3)
        lock = path.with_name("m.journal.lock")
        if kind == "a file":
            lock.touch()
        else:
            lock.symlink_to(path if kind == "a link" else "old-place/m.journal")
        began = time.monotonic()
        step(proposer(str(path)))
        assert time.monotonic() - began >= 1.3
        assert not os.path.lexists(lock)
        assert [record.getMessage().partition(":")[0] for record in said.records] == [str(lock)] * 2
        assert "waiting for 1 s" in said.text and "taken away" in said.text
        assert [file.name for file in path.parent.iterdir()] == ["m.journal"]

    def test_one_that_is_held_is_waited_for(
        self, path: Path, said: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal, "LOCK_GRACE_SECONDS", 60.0)
        lock = path.with_name("m.journal.lock")
        lock.symlink_to(path)
        with released_after(1.3, lock):
            step(proposer(str(path)))
        assert "waiting for 1 s" in said.text and "taken away" not in said.text

    def test_one_whose_journal_grows_is_not_taken_away(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal, "LOCK_GRACE_SECONDS", 0.4)
        lock = JournalLock(path)
        assert lock.acquire()
        stopped = threading.Event()

        def grow() -> None:
            while not stopped.wait(0.05):
                os.utime(path)

        thread = threading.Thread(target=grow)
        thread.start()
        timer = threading.Timer(1.0, lambda: (stopped.set(), lock.release()))
        timer.start()
        began = time.monotonic()
        other = JournalLock(path)
        assert other.acquire()
        other.release()
        assert time.monotonic() - began >= 0.9
        timer.join()
        thread.join()

    def test_only_its_owner_gives_it_back(self, path: Path) -> None:
        first, second = JournalLock(path), JournalLock(path)
        first.acquire()
        first.path.unlink()
        second.acquire()
        first.release()
        assert second.path.is_symlink()
        second.release()
        assert not second.path.is_symlink()

    def test_a_folder_in_its_place_is_named(self, path: Path) -> None:
        path.with_name("m.journal.lock").mkdir()
        with pytest.raises(
            StorageError, match=r"m\.journal\.lock: is in the place of the journal's lock file"
        ):
            step(proposer(str(path)))

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_the_wait(self, number: signal.Signals, tmp_path: Path) -> None:
        (tmp_path / "m.journal.lock").symlink_to("old-place/m.journal")
        search = "search --device iphone12 --budget-ms 2 --space efficientformer --strategy random --evals 10"
        process = subprocess.Popen(
            [sys.executable, "-m", "hvnas", *search.split(), "--storage", "m.journal", "--out", "o"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "m.journal.lock" in line and "waiting for 1 s" in line
        process.send_signal(number)
        _, rest = process.communicate(timeout=20)
        assert process.returncode == 128 + number
        assert rest == "hvnas: stopped; continue with hvnas resume o\n"


class TestDamage:
    @pytest.mark.parametrize(
        "rubbish",
        [
            b"rubbish",
            b"\xff\xfe\x00",
            b"\0" * 40,
            b"[1, 2]",
            b"null",
            b"",
            b'{"op_code":"4"}',
            b"[" * 100_000,
        ],
    )
    def test_a_line_in_the_middle_is_refused_by_number(self, rubbish: bytes, path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        damaged = b"".join([*lines[:3], rubbish + b"\n", *lines[3:]])
        path.write_bytes(damaged)
        with pytest.raises(StorageError, match=r"m\.journal: line 4: .*journal was damaged there") as error:
            proposer(str(path))
        assert len(str(error.value)) < 500 and "\n" not in str(error.value)
        assert path.read_bytes() == damaged

    @pytest.mark.parametrize("record", [b'{"op_code":77,"worker_id":"w"}', b'{"op_code":5}', RECORD])
    def test_a_record_of_wrong_content_is_refused_by_number(self, record: bytes, path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:3], record + b"\n", *lines[3:]]))
        with pytest.raises(StorageError, match=r"m\.journal: line 4: "):
            proposer(str(path))

    def test_one_that_comes_while_a_search_runs(self, path: Path) -> None:
        run = proposer(str(path))
        with path.open("ab") as file:
            file.write(b"rubbish\n")
        number = len(path.read_bytes().splitlines())
        with pytest.raises(StorageError, match=rf"m\.journal: line {number}: not JSON"):
            step(run)

    def test_values_of_a_trial_are_checked(self, path: Path) -> None:
        for pattern, damage in (
            (rb'"row":\[[^]]*\]', b'"row":"x"'),
            (rb'"evaluation":{.*?}', b'"evaluation":"x"'),
        ):
            lines = path.read_bytes().splitlines(keepends=True)
            changed = [re.sub(pattern, damage, line) for line in lines]
            assert changed != lines
            other = path.with_name("other.journal")
            other.write_bytes(b"".join(changed))
            with pytest.raises(StorageError, match=r"other\.journal.*trial 0: .*damaged"):
                step(proposer(str(other)))

    @pytest.mark.parametrize("tail", [b'{"op_code":4,"wor', b"\0" * 50, b'{"op_code":4,"\xff'])
    def test_half_a_line_at_the_end_is_mended(self, tail: bytes, path: Path, said: Any) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole + tail)
        run = proposer(str(path))
        assert run.archive.evaluated == 1
        step(run)
        assert path.read_bytes().startswith(whole + b'{"op_code":')
        assert proposer(str(path)).archive.evaluated == 2
        assert f"{path}: the last line was cut short" in said.text

    def test_a_line_that_lacks_only_its_break_is_kept(self, path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        step(proposer(str(path)))
        assert path.read_bytes().startswith(whole)

    def test_half_a_line_of_another_file_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.log"
        path.write_text("buy milk")
        with pytest.raises(StorageError, match=r"notes\.log: line 1: .*not an Optuna journal"):
            step(proposer(str(path)))
        assert path.read_text() == "buy milk"

    def test_what_is_no_file_is_named(self, tmp_path: Path) -> None:
        folder, pipe = tmp_path / "folder.journal", tmp_path / "pipe.journal"
        folder.mkdir()
        os.mkfifo(pipe)
        for path, kind in ((folder, "a folder"), (pipe, "not a regular file")):
            with pytest.raises(StorageError, match=rf"{path.name}: is {kind}; give the path"):
                proposer(str(path))

    def test_a_line_without_an_end_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(journal, "_LONGEST_LINE", 1 << 16)
        path = tmp_path / "m.journal"
        path.write_bytes(b'{"op_code":' + b" " * (1 << 17))
        with pytest.raises(StorageError, match=r"m\.journal: line 1: longer than"):
            open_journal(path)

    def test_an_empty_one_is_begun(self, tmp_path: Path) -> None:
        path = tmp_path / "m.journal"
        path.touch()
        step(proposer(str(path)))
        assert proposer(str(path)).archive.evaluated == 1

    def test_a_read_only_one_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
        with pytest.raises(StorageError, match=r"m\.journal: cannot be opened \(Permission denied\)"):
            proposer(str(path))


class TestDatabase:
    def lock(self, folder: Path) -> Any:
        import sqlite3

        connection = sqlite3.connect(folder / "s.db", isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
        return connection

    def test_one_that_is_locked_is_waited_for(self, tmp_path: Path, said: Any) -> None:
        storage = f"sqlite:///{tmp_path}/s.db"
        run = proposer(storage)
        connection = self.lock(tmp_path)
        timer = threading.Timer(1.6, connection.rollback)
        timer.start()
        step(run)
        timer.join()
        assert f"{storage}: no answer yet (waiting for 1 s" in said.text

    def test_one_that_stays_locked_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(optuna_storage, "_LOCKED_SECONDS", 0.2)
        monkeypatch.setattr(optuna_storage, "_LOCKED_AT_ONCE", 0.1)
        storage = f"sqlite:///{tmp_path}/s.db"
        run = proposer(storage)
        connection = self.lock(tmp_path)
        with pytest.raises(StorageError, match=r"s\.db: does not serve any more \(database is locked\)"):
            step(run)
        with pytest.raises(StorageError, match=r"s\.db: cannot be opened \(database is locked\)"):
            proposer(storage)
        connection.rollback()
        step(proposer(storage))
