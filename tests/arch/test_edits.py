"""Networks changed by paths."""

from __future__ import annotations

from typing import Any

import pytest

from hvnas.arch import load_arch
from hvnas.arch.edits import edited


def test_paths_name_fields_parts_and_types() -> None:
    arch = load_arch("efficientformer_l1")
    other = edited(
        arch,
        {"stages.2.local.depth": 4, "stages.3.global": None, "@mb4d.pool": 5, "stages.*.*.act": "relu"},
        where="here",
    )
    assert other.name == arch.name and other.published is None
    assert other.stages[2].local is not None and other.stages[2].local.depth == 4
    assert other.stages[3].global_ is None
    runs = [run for stage in other.stages for _, run in stage.runs]
    assert {(run.block.pool, run.block.act) for run in runs} == {(5, "relu")}  # type: ignore[attr-defined]
    assert other.stem == arch.stem
    assert edited(arch, {}, where="here") is arch


@pytest.mark.parametrize(
    "path, value, words",
    [
        ("stages.7.local.depth", 1, "no such field"),
        ("stages.-1.local.depth", 1, "no such field"),
        ("stages.0.global.depth", 1, "no such field"),
        ("stages.*.*.wrong", 1, "no such field"),
        ("@mb4d.wrong", 1, "no such field"),
        ("@nothing.act", "relu", "no such field"),
        ("published.top1", 99, "a path begins with"),
        ("", 1, "a path begins with"),
        ("stages.0.local.depth", "many", "must be a whole number"),
        ("stages.0.local.depth", -1, "must be a whole number"),
        ("stem", None, "stem"),
        ("resolution", 10**9, "resolution"),
    ],
)
def test_what_leads_nowhere_is_told_with_where_and_path(path: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        edited(load_arch("efficientformer_l1"), {path: value}, where="mine.yaml: row")
    assert "mine.yaml: row" in str(caught.value) and "\n" not in str(caught.value)
