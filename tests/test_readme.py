"""README's commands and code run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
# What a command prints does not change with how much it does, only its figures.
SMALL = ["--space", "efficientformer", "--ops", "200", "--networks", "10", "--blocks", "0"]
LESS = {"search": ["--evals", "300"], "latency plan": SMALL, "latency measure": SMALL}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [
    shlex.split(line[2:]) for block in blocks("console") for line in block.splitlines() if line[:2] == "$ "
]


def test_readme_has_commands() -> None:
    assert any(command[1] == "search" for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command_runs(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hvnas.cli.app import app

    monkeypatch.chdir(tmp_path)
    assert command[0] == "hvnas"
    less = LESS.get(command[1]) or LESS.get(" ".join(command[1:3]), [])
    result = CliRunner().invoke(app, command[1:] + less)
    assert result.exit_code == 0, result.output
    assert result.output.strip()


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scripts_named_exist() -> None:
    for name in re.findall(r"scripts/\w+\.(?:sh|py)", README):
        assert (Path(__file__).parents[1] / name).is_file(), name
