"""The command as its own process: start, exit codes, what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hvnas import __version__


def hvnas_process(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-m", "hvnas", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


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


# Prints, command after command in one process, how each ended and which packages it had imported by then.
ONE_BY_ONE = """
import contextlib, io, json, os, sys
from hvnas.cli import main
ended = []
for args in json.loads(sys.argv[1]):
    sys.argv = ["hvnas", *args]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code or 0
    packages = sorted({name.partition(".")[0] for name in sys.modules})
    ended.append([code, out.getvalue(), err.getvalue(), packages, sorted(os.listdir())])
print(json.dumps(ended))
"""
HELP = ((), ("--help",), ("search", "--help"))
CODES = {
    ("models",): 0,
    ("devices", "--json"): 0,
    ("show", "efficientformer_l1", "--json"): 0,
    ("search", "--budget-ms", "0.1", "--space", "poolformer", "--device", "iphone12"): 3,
    ("search", "--budget-ms", "0", "--device", "iphone12"): 2,
    ("show", "nothing"): 2,
}
SEARCH = tuple("search --budget-ms 2 --device iphone12 --space efficientformer --evals 50 --out run".split())


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str
    packages: set[str]
    files: list[str]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Ended]:
    """The commands one after the other: those that import least come first, the one that writes last."""
    commands = (*HELP, *CODES, SEARCH)
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, json.dumps(commands)],
        cwd=tmp_path_factory.mktemp("commands"),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    found = [
        Ended(code, out, err, set(packages), files)
        for code, out, err, packages, files in json.loads(done.stdout)
    ]
    return dict(zip(commands, found, strict=True))


@pytest.mark.parametrize("args", HELP)
def test_help_imports_nothing_heavy(ended: dict[tuple[str, ...], Ended], args: tuple[str, ...]) -> None:
    result = ended[args]
    assert result.code == 0
    assert result.stdout.startswith("Usage: hvnas")
    assert "typer" in result.packages
    assert not result.packages & {"numpy", "scipy", "torch", "optuna", "yaml", "rich"}


@pytest.mark.parametrize(("args", "code"), CODES.items())
def test_exit_codes_and_no_torch(
    ended: dict[tuple[str, ...], Ended], args: tuple[str, ...], code: int
) -> None:
    result = ended[args]
    assert result.code == code
    assert not result.packages & {"torch", "torchvision", "timm"}
    assert "Traceback" not in result.stderr
    assert result.files == []


def test_a_search_imports_no_torch(ended: dict[tuple[str, ...], Ended]) -> None:
    result = ended[SEARCH]
    assert result.code == 0
    assert not result.packages & {"torch", "torchvision", "timm"}
    assert result.files == ["run"]


def test_an_error_is_the_exit_code_of_the_process(tmp_path: Path) -> None:
    result = hvnas_process("show", "nothing", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("hvnas: error: unknown model 'nothing'")


def test_a_terminal_of_few_characters_is_enough(tmp_path: Path) -> None:
    result = hvnas_process(
        "show", "efficientformer_l1", "--device", "iphone12", cwd=tmp_path, PYTHONIOENCODING="ascii"
    )
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
