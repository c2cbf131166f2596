"""The table of fixed points in the search spaces' README is the one that the script makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from hvnas.arch import list_models


@pytest.fixture(scope="module")
def script(repo_root: Path) -> ModuleType:
    path = repo_root / "scripts" / "fixed_points_table.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_is_current(script: ModuleType, repo_root: Path) -> None:
    assert script.README.relative_to(repo_root) == Path("search_spaces/README.md")
    text = script.README.read_text(encoding="utf-8")
    assert script.placed(text) == text, "run scripts/fixed_points_table.py --write"


def test_a_row_per_fixed_point(script: ModuleType) -> None:
    rows = {cells[0].strip("`"): cells[1:] for cells in script.rows()}
    assert set(rows) == set(list_models())
    assert rows["efficientformer_l1"][:-1] == "224 12.29 1.291 79.2 distilled300 1.4 9.642 16.291".split()
    assert rows["coatnet_7"][3] == "90.88 @512"
    assert rows["vit_rel"][3:8] == ["–"] * 5
    assert {len(cells) for cells in rows.values()} == {9}


def test_only_the_block_is_touched(script: ModuleType) -> None:
    text = f"before\n{script.BEGIN}\nstale\n{script.END}\nafter\n"
    new = script.placed(text)
    assert new.startswith("before\n") and new.endswith("\nafter\n") and "stale" not in new
    assert script.placed(new) == new


def test_without_markers(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="markers"):
        script.placed("# hvnas\n")


@pytest.mark.parametrize("fresh", [True, False])
def test_check(
    script: ModuleType, fresh: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    readme = tmp_path / "README.md"
    text = f"{script.BEGIN}\n{script.END}\n"
    readme.write_text(script.placed(text) if fresh else text, encoding="utf-8")
    monkeypatch.setattr(script, "README", readme)
    monkeypatch.setattr("sys.argv", ["fixed_points_table.py", "--check"])
    assert script.main() == (0 if fresh else 1)
    assert ("stale" in capsys.readouterr().err) is not fresh
