"""`hvnas cache`: what it shows, and that it clears what is its own only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hvnas import _cache as cache
from hvnas.cli.app import app

runner = CliRunner()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HVNAS_CACHE", str(tmp_path))
    cache.keep("one", "key", {"a": np.arange(5)})
    (tmp_path / "mine.txt").write_text("of somebody else")
    return tmp_path


def test_shows_the_folder_and_its_files(folder: Path) -> None:
    shown = runner.invoke(app, ["cache"])
    assert shown.exit_code == 0
    assert str(folder) in shown.stdout
    assert "one.npz" in shown.stdout
    assert "mine.txt" not in shown.stdout


def test_clears_its_own_files(folder: Path) -> None:
    (row,) = json.loads(runner.invoke(app, ["cache", "--clear", "--json"]).stdout)
    assert row["file"] == "one.npz"
    assert row["bytes"] > 0
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_without_a_cache_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVNAS_CACHE", "off")
    assert json.loads(runner.invoke(app, ["cache", "--json"]).stdout) == []
