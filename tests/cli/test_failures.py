"""Interrupts, system errors and bugs; and the progress of a search."""

from __future__ import annotations

import errno
import io
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from hvnas.cli._failure import one_line
from hvnas.cli._progress import Watcher
from hvnas.cli._screen import Screen

SEARCH = ("search", "--budget-ms", "2", "--device", "iphone12", "--out")


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, leaves: Path | None = None) -> None:
    """Let the library's search raise `error`, a run's folder begun before that."""

    def search(*_: object, **__: object) -> None:
        if leaves is not None:
            leaves.mkdir()
            (leaves / "config.yaml").write_text("")
        raise error

    monkeypatch.setattr("hvnas.search.run.start", search)


def test_an_interrupt_says_how_to_go_on(hvnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    fail_with(monkeypatch, KeyboardInterrupt(), leaves=folder)
    result = hvnas(*SEARCH, folder)
    assert result.exit_code == 130
    assert result.stderr == f"hvnas: stopped; continue with hvnas resume {folder}\n"


def test_an_early_interrupt_leaves_nothing(hvnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    result = hvnas(*SEARCH, tmp_path / "run")
    assert result.exit_code == 130
    assert result.stderr.count("\n") == 1
    assert "nothing was written" in result.stderr


def test_an_interrupt_elsewhere_is_one_line(hvnas, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hvnas.latency.list_devices", interrupted)
    result = hvnas("devices")
    assert (result.exit_code, result.stderr) == (130, "hvnas: stopped\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/root/x"),
            "/root/x: permission denied; change the permissions, or choose another path",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file", b"/root/x"),
            "/root/x: no such file; check the path",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "no space left on device; make room and run the command again",
        ),
        (OSError("odd"), "odd"),
        (ValueError("width: must be > 0 (net.yaml)"), "width: must be > 0 (net.yaml)"),
        (ValueError(), "ValueError"),
    ],
)
def test_errors_of_users_and_systems_are_one_line(error: ValueError | OSError, said: str) -> None:
    assert one_line(error) == said


def test_a_full_disk_exits_with_2(hvnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "pareto.csv"))
    result = hvnas(*SEARCH, tmp_path / "run")
    assert result.exit_code == 2
    assert (
        result.stderr
        == "hvnas: error: pareto.csv: no space left on device; make room and run the command again\n"
    )


def test_bugs_are_not_hidden(hvnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        hvnas(*SEARCH, tmp_path / "run")


def archive(evaluated: int, *, best: bool = True) -> SimpleNamespace:
    found = SimpleNamespace(top1=[79.91], sd=[0.94], ms=[1.8512])
    return SimpleNamespace(evaluated=evaluated, best=found if best else None)


def test_progress_is_a_line_now_and_then_where_nobody_watches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 1.2, 1.6, 1.6, 6.0, 6.7, 6.7, 7.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with Watcher(Screen()) as watcher:
        watcher.reachable(SimpleNamespace(min_ms=0.5, max_ms=12.25))
        watcher.advanced(archive(10, best=False), evals=1000)
        watcher.advanced(archive(250, best=False), evals=1000)
        watcher.advanced(archive(300), evals=1000)
        watcher.advanced(archive(900), evals=1000)
        watcher.advanced(archive(1000), evals=1000)
    out, err = capsys.readouterr()
    assert out == "Latencies within reach: 0.500 to 12.250 ms\n"
    assert err.splitlines() == [
        "250 of 1,000 evaluated (25.0 %); nothing within the budget yet",
        "900 of 1,000 evaluated (90.0 %); best so far top-1 79.9 ± 0.9 at 1.851 ms",
    ]


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "120")):
        monkeypatch.setenv(name, value)
    with Watcher(Screen()) as watcher:
        deadline = time.monotonic() + 30
        while "preparing the search" not in terminal.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "preparing the search" in terminal.getvalue()
        watcher.advanced(archive(250), evals=1000)
        watcher.advanced(archive(1000), evals=1000)
    assert "1000/1000" in terminal.getvalue()
    assert "79.9 ± 0.9 at 1.851 ms" in terminal.getvalue()
