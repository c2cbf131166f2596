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


def best(printed: str) -> tuple[float, float]:
    """Milliseconds and top-1 of the best network."""
    _, _, told = printed.partition("Best: ")
    found = re.search(r"latency +([\d.]+) ms.*?top-1 +([\d.]+) ±", told, re.DOTALL)
    assert found, printed
    return float(found[1]), float(found[2])


def test_main_job_finds_what_readme_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hvnas.cli.app import app

    monkeypatch.chdir(tmp_path)
    shown = re.search(r"<!-- main job -->(.*)<!-- /main job -->", README, re.DOTALL)
    assert shown
    result = CliRunner().invoke(app, ["search", "--budget-ms", "2", "--device", "iphone12"])
    # Other processors add up in another order, which can lead a search to a neighbour.
    assert best(result.output)[0] == pytest.approx(best(shown[1])[0], abs=0.1)
    assert best(result.output)[1] == pytest.approx(best(shown[1])[1], abs=0.2)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scripts_named_exist() -> None:
    for name in re.findall(r"scripts/\w+\.(?:sh|py)", README):
        assert (Path(__file__).parents[1] / name).is_file(), name
