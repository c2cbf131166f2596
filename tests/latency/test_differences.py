"""Published differences: files that say what they are, and the ones that are shipped."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from hvnas.latency.calibration.calibrate import Difference, read_differences, write_differences

ONE = Difference("a", "gate", "repvit", 0.04, 0.85, "P5", "2307.09283", {"gates": 10.0, "macs": -3.0})


def test_reads_what_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(write_differences([ONE]), encoding="utf-8")
    assert read_differences(path) == (ONE,)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("about,", "abut,", "row 1: about: missing column"),
        ("2307.09283", " ", "row 2: source: is empty"),
        ("0.04", "soon", "row 2: ms: must be a number"),
        ("0.04", "nan", "row 2: ms: must be a finite number"),
        ("0.85", "0", "row 2: of_ms: must be > 0"),
        (",10,", ",10,11,", "row 2: 10 fields where the header has 9"),
    ],
)
def test_refuses(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(write_differences([ONE]).replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        read_differences(path)


def test_tells_of_families_not_of_parts_of_their_names() -> None:
    assert ONE.tells_of("repvit") and not ONE.tells_of("rep")


def test_the_shipped_differences_are_the_published_ones(repo_root: Path) -> None:
    tables = repo_root / "latency_tables"
    shipped = read_differences(tables / "iphone12_differences.csv")
    with (tables / "sources" / "iphone12_differences.csv").open(encoding="utf-8", newline="") as file:
        published = list(csv.DictReader(file))
    assert [(d.name, d.ms, d.of_ms, d.families) for d in shipped] == [
        (row["name"], float(row["ms"]), float(row["of_ms"]), row["families"]) for row in published
    ]
    assert all(row["note"] for row in published)


def test_an_ablation_adds_what_its_paper_counts(repo_root: Path) -> None:
    """EfficientFormerV2 Table 1: +0.27 and +0.10 G MACs, +0.85 M parameters; in the FFN +0.03 G, +0.10 M."""
    shipped = {
        d.name: d.values for d in read_differences(repo_root / "latency_tables/iphone12_differences.csv")
    }
    full, stride = shipped["attention at 14 x 14"], shipped["stride attention at 14 x 14"]
    assert full["macs"] / 1e9 == pytest.approx(0.27, abs=0.02)
    assert stride["macs"] / 1e9 == pytest.approx(0.10, abs=0.02)
    assert full["params"] / 1e6 == pytest.approx(0.85, abs=0.1)
    ffn = shipped["depthwise convolution in the FFN"]
    assert (ffn["macs"] / 1e9, ffn["params"] / 1e6) == pytest.approx((0.03, 0.10), abs=0.011)
