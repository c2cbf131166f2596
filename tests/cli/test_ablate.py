"""ablate: tables, files and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_lists_the_studies(hvnas) -> None:
    lines = hvnas("ablate").stdout.splitlines()
    assert lines[0].split() == ["study", "about", "parts"]
    assert {line.split()[0] for line in lines[1:]} >= {"coatnet-layouts", "stems", "linear-attention"}


def test_prints_a_table_and_writes_it(hvnas, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = hvnas("ablate", "mobilevit-patch", "--out", tmp_path / "out")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    costs, accuracy, parts = [line.split() for line in lines if line.strip().startswith("8,4,2 ")][:3]
    assert "8.20" in costs and "outside" in costs
    assert "77.3" in accuracy and "-1.1" in accuracy
    assert len(parts) == 7 and sum(map(float, parts[1:])) == pytest.approx(float(costs[5]), abs=0.003)
    assert any(line.startswith("Not told apart from 2,2,2") for line in lines)
    assert any(line.startswith("Published: 2110.02178 Tables 6 and 9") for line in lines)
    table, plot, drawing = (
        tmp_path / "out" / f"mobilevit-patch.{ending}" for ending in ("csv", "png", "svg")
    )
    assert len(table.read_text(encoding="utf-8").splitlines()) == 7
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "MobileViT-XS</text>" in drawing.read_text(encoding="utf-8")


def test_rows_as_csv_are_those_of_the_file(hvnas, tmp_path: Path) -> None:
    part = ("ablate", "mobilevit-patch", "--part", "xs")
    assert hvnas(*part, "--out", tmp_path / "out").exit_code == 0
    written = (tmp_path / "out" / "mobilevit-patch.csv").read_text(encoding="utf-8")
    assert hvnas(*part, "--format", "csv").stdout == written


def test_one_part_of_a_study(hvnas) -> None:
    data = json.loads(hvnas("ablate", "mobilevit-patch", "--part", "xs", "--json").stdout)
    assert [part["name"] for part in data["parts"]] == ["xs"]


def test_options_stand_in_for_the_file_s(hvnas) -> None:
    options = ("--device", "cpu-i9-10940x", "--scenario", "large-data", "--json")
    data = json.loads(hvnas("ablate", "mobilevit-patch", *options).stdout)
    assert {part["device"] for part in data["parts"]} == {"cpu-i9-10940x"}
    assert all(list(row["estimates"]) == ["large-data"] for part in data["parts"] for row in part["rows"])
    assert data["written"] == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("nothing",), "unknown study 'nothing'"),
        (("stems", "--device", "toaster"), "unknown device 'toaster'"),
        (("stems", "--scenario", "mars"), "unknown scenario 'mars'"),
        (("stems", "--estimator", "oracle"), "unknown estimator 'oracle'"),
        (("stems", "--seeds", "3"), "trains nothing"),
        (("stems", "--part", "patches"), "unknown part 'patches'; did you mean 'patch'"),
        (("stems", "--out", "/nowhere/at/all"), "there is no folder /nowhere/at"),
    ],
)
def test_what_is_wrong_is_one_line(hvnas, arguments: tuple[str, ...], words: str) -> None:
    result = hvnas("ablate", *arguments)
    assert result.exit_code == 2
    errors = [line for line in result.stderr.splitlines() if line]
    assert len(errors) == 1 and errors[0].startswith("hvnas: error:") and words in errors[0]
