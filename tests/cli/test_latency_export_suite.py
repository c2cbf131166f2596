"""``hvnas latency export-suite``: the command around the suite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hvnas.export as exports

REQUEST = ("latency", "export-suite", "--space", "efficientformer", "--networks", 1, "--blocks", 6)


@pytest.fixture(autouse=True)
def quick_export(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(source: object, path: Path, **options: object) -> None:
        path.write_text("")

    monkeypatch.setattr(exports, "export_onnx", write)
    monkeypatch.setattr(exports, "export_coreml", write)


def test_writes_and_goes_on(hvnas, tmp_path: Path) -> None:
    out = tmp_path / "suite"
    first = hvnas(*REQUEST, "--format", "coreml", "--out", out)
    assert first.exit_code == 0
    assert "3 networks and 12 block models" in first.stdout
    assert "ask for more with --blocks" in first.stdout
    assert f"Next: {out / 'README.md'}" in first.stdout
    again = hvnas(*REQUEST, "--format", "coreml", "--out", out, "--json")
    facts = json.loads(again.stdout)
    assert (facts["models"], facts["written"], facts["kept"]) == (15, 0, 15)
    assert facts["format"] == "coreml"
    assert len(list((out / "models").glob("*.mlpackage"))) == 15


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--format", "gguf"), "unknown format 'gguf'"),
        (("--format", "onnx", "--blocks", 1), "1 blocks cannot stand for 5 block types"),
        (("--format", "onnx", "--depth", 1), "depth: must be >= 3"),
        (("--format", "onnx", "--space", "efficientfomer"), "did you mean 'efficientformer'"),
    ],
)
def test_bad_input_is_one_line(hvnas, tmp_path: Path, options: tuple[object, ...], reason: str) -> None:
    result = hvnas(*REQUEST, *options, "--out", tmp_path / "suite")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("hvnas: error: ") and reason in line
    assert not (tmp_path / "suite").exists()


def test_a_folder_of_something_else(hvnas, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = hvnas(*REQUEST, "--format", "onnx", "--out", tmp_path)
    assert result.exit_code == 2
    assert "holds other files and no suite" in result.stderr
