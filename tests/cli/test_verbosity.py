"""-q, -v, and completion: what they change, and what not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hvnas.cli import _progress
from hvnas.cli._screen import hoisted

SEARCH = "search --space efficientformer --device iphone12 --budget-ms 2 --evals 200 --seed 1".split()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["show", "a", "-q"], ["-q", "show", "a"]),
        (["--verbose", "show", "a"], ["--verbose", "show", "a"]),
        (["show", "--", "-q"], ["show", "--", "-q"]),
        ([], []),
    ],
)
def test_flags_may_stand_anywhere(given: list[str], read: list[str]) -> None:
    assert hoisted(given) == read


def test_quiet_leaves_results_and_errors(hvnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "_SECONDS_BETWEEN_LINES", 0.0)
    loud = hvnas(*SEARCH, "--out", tmp_path / "loud")
    quiet = hvnas(*SEARCH, "--out", tmp_path / "quiet", "-q")
    assert "Latencies within reach" in loud.stdout and "evaluated" in loud.stderr
    assert quiet.stderr == ""
    assert "Latencies within reach" not in quiet.stdout and "Best: " in quiet.stdout
    error = hvnas("-q", "show", "nothing")
    assert error.exit_code == 2 and error.stderr.startswith("hvnas: error: unknown model 'nothing'")


def test_verbose_shows_where_an_error_comes_from(hvnas) -> None:
    plain, verbose = hvnas("show", "nothing"), hvnas("show", "nothing", "-v")
    assert plain.stderr.count("\n") == 1
    assert verbose.stderr.startswith("Traceback") and "load_arch" in verbose.stderr
    assert verbose.stderr.splitlines()[-1] == plain.stderr.strip()
    assert verbose.exit_code == plain.exit_code == 2
    # It does not last beyond its command.
    assert hvnas("show", "nothing").stderr == plain.stderr


def test_both_at_once_are_refused(hvnas) -> None:
    result = hvnas("-q", "-v", "devices")
    assert result.exit_code == 2 and "give only one" in result.stderr


def test_the_shell_completes_commands_and_options() -> None:
    def completions(line: str) -> list[str]:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_HVNAS_COMPLETE": "complete_bash"}
        done = subprocess.run(
            [sys.executable, "-m", "hvnas"], env={**os.environ, **words}, capture_output=True, text=True
        )
        return done.stdout.split()

    assert {"search", "show", "spaces", "supernet"} <= set(completions("hvnas s"))
    assert "--budget-ms" in completions("hvnas search --b")


def test_installing_completion_is_offered(hvnas) -> None:
    assert "--install-completion" in hvnas("--help").stdout
