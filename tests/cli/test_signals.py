"""SIGINT and SIGTERM: the first stops a search with its front written, the second ends it at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import hvnas.search.runs.session
from hvnas._waiting import StopRequest
from hvnas.cli._progress import stopping
from hvnas.search.runs.checkpoint import Stopped

OPTIONS = "--budget-ms 2 --space efficientformer --device iphone12 --strategy evolution --evals 15000".split()
# A batch that takes a minute, so that the first signal has to wait.
STUCK = """
import sys, time
from hvnas.search.strategies.evolution import _Run
def step(run):
    print("in hand", flush=True)
    time.sleep(60)
_Run.step = step
from hvnas.cli import main
main()
"""


def start(*args: object, program: str | None = None, cwd: Path) -> subprocess.Popen[str]:
    how = ("-m", "hvnas") if program is None else ("-c", program)
    return subprocess.Popen(
        [sys.executable, *how, *map(str, args)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores SIGINT, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def outputs(out: Path) -> dict[str, bytes]:
    files = [out / "pareto.csv", out / "best.yaml", *sorted((out / "archs").iterdir())]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def wait_for(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not there():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


@pytest.fixture(scope="module")
def whole(hvnas, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the search that no signal reached."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert hvnas("search", *OPTIONS, "--out", out).exit_code == 0
    return outputs(out)


@pytest.mark.parametrize(("number", "extra"), [(signal.SIGINT, ()), (signal.SIGTERM, ("--json",))])
def test_a_signal_stops_with_the_front_written(
    hvnas, tmp_path: Path, whole: dict[str, bytes], number: int, extra: tuple[str, ...]
) -> None:
    out = tmp_path / "run"
    process = start("search", *OPTIONS, "--out", "run", *extra, cwd=tmp_path)
    wait_for((out / "config.yaml").is_file, process)
    process.send_signal(number)
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number, said
    assert "stopping after the current batch; a second signal stops at once\n" in said
    assert said.endswith("hvnas: stopped; continue with hvnas resume run\n")
    assert "Traceback" not in said
    stopped = outputs(out)
    assert stopped != whole and len(stopped) > 3
    assert "stopped: " in (out / "log.txt").read_text()
    if extra:
        told = json.loads(printed)
        assert told["stopped"] is True
        assert 0 < told["evaluated"] < 15_000 and len(told["pareto"]) == len(stopped) - 2
    else:
        assert f"Best: {'iphone12-'}" in printed
    again = hvnas("resume", out, "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["stopped"] is False
    assert outputs(out) == whole


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)]
)
def test_a_second_signal_ends_at_once(tmp_path: Path, first: int, second: int) -> None:
    process = start("search", *OPTIONS, "--out", "run", "--json", program=STUCK, cwd=tmp_path)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "in hand\n"
    process.send_signal(first)
    while "a second signal" not in (line := process.stderr.readline()):
        assert line, "the process is alive"
    process.send_signal(second)
    printed, said = process.communicate(timeout=30)
    assert process.returncode == 128 + second
    assert (printed, said) == ("", "hvnas: stopped; continue with hvnas resume run\n")
    assert not (tmp_path / "run" / "best.yaml").exists()


def test_stopping_before_anything_is_found(hvnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(session: hvnas.search.runs.session.Session, **_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise Stopped

    monkeypatch.setattr("hvnas.search.run.run_strategy", lambda *args: ask(args[-1]))
    result = hvnas("search", *OPTIONS, "--out", tmp_path / "run", "--json")
    assert result.exit_code == 143
    told = json.loads(result.stdout)
    assert (told["best"], told["pareto"], told["stopped"]) == (None, [], True)
    said = f"hvnas: stopped; continue with hvnas resume {tmp_path / 'run'}"
    assert result.stderr.splitlines()[-1] == f"{said}; no network is within the budget yet"


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    asked = StopRequest()
    with stopping(asked):
        assert not asked.event.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.event.is_set() and asked.code == 143
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert asked.code == 130
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
