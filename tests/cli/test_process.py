"""The command as its own process: start, exit codes, what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hvnas import __version__


def hvnas_process(
    *args: str, cwd: Path, python: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, *python, "-m", "hvnas", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def imported(stderr: str) -> set[str]:
    """The top-level packages in the output of ``-X importtime``."""
    lines = [line for line in stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_version(tmp_path: Path) -> None:
    result = hvnas_process("--version", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, f"hvnas {__version__}\n")


@pytest.mark.parametrize("command", ["", "search", "version", "latency", "latency plan"])
def test_h_is_help(command: str, hvnas: Callable[..., Any]) -> None:
    short, long = (hvnas(*command.split(), option) for option in ("-h", "--help"))
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    assert short.stdout.startswith("Usage: hvnas")


def test_version_is_a_command(hvnas: Callable[..., Any]) -> None:
    assert hvnas("version").stdout == f"hvnas {__version__}\n"
    assert json.loads(hvnas("version", "--json").stdout) == {"version": __version__}


@pytest.mark.parametrize("args", [("--help",), (), ("search", "--help")])
def test_help_imports_nothing_heavy(tmp_path: Path, args: tuple[str, ...]) -> None:
    result = hvnas_process(*args, cwd=tmp_path, python=("-X", "importtime"))
    assert result.returncode == 0
    assert result.stdout.startswith("Usage: hvnas")
    names = imported(result.stderr)
    assert "typer" in names
    assert not names & {"numpy", "scipy", "torch", "optuna", "yaml", "rich"}


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("models",), 0),
        (("devices", "--json"), 0),
        (("show", "efficientformer_l1", "--json"), 0),
        (("search", "--budget-ms", "0.1", "--space", "poolformer", "--device", "iphone12"), 3),
        (("search", "--budget-ms", "0", "--device", "iphone12"), 2),
        (("show", "nothing"), 2),
    ],
)
def test_exit_codes_and_no_torch(tmp_path: Path, args: tuple[str, ...], code: int) -> None:
    result = hvnas_process(*args, cwd=tmp_path, python=("-X", "importtime"))
    assert result.returncode == code
    assert not imported(result.stderr) & {"torch", "torchvision", "timm"}
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_search_imports_no_torch(tmp_path: Path) -> None:
    args = "search --budget-ms 2 --device iphone12 --space efficientformer --evals 50 --out run".split()
    result = hvnas_process(*args, cwd=tmp_path, python=("-X", "importtime"))
    assert result.returncode == 0
    assert not imported(result.stderr) & {"torch", "torchvision", "timm"}
    assert (tmp_path / "run" / "best.yaml").is_file()


def test_a_terminal_of_few_characters_is_enough(tmp_path: Path) -> None:
    result = hvnas_process("show", "efficientformer_l1", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert "mb4d ? 3" in result.stdout


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = f"'{sys.executable}' -m hvnas models --json | head -n 1"
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "[\n"
    assert "Traceback" not in result.stderr
    assert "error" not in result.stderr
