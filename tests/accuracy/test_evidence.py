"""The evidence that ships: complete, sourced, and what our own lowering gives."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import hvnas
from hvnas.accuracy.columns import COLUMNS, NAMES
from hvnas.accuracy.evidence import DATA, load_evidence
from hvnas.accuracy.scores import FAMILIES
from hvnas.ops import evaluate_columns


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_row_is_sourced_and_finite() -> None:
    evidence = load_evidence()
    assert len(evidence) > 800
    assert np.isfinite(evidence.features).all()
    assert ((evidence.top1 > 40) & (evidence.top1 < 90)).all()
    assert all(row["source"] for row in rows("evidence.csv"))
    assert all(row["source"] for row in rows("recipes_override.csv"))
    assert all(row["basis"] for row in rows("recipe_tags.csv"))


def test_every_family_that_is_scored_is_there() -> None:
    assert set(FAMILIES) <= set(load_evidence().families)


def test_schedules_that_tags_hide_are_filled_in() -> None:
    known = {row["model"]: row for row in rows("evidence.csv") if row["origin"] == "timm"}
    assert known["efficientformer_l1.snap_dist_in1k"]["epochs"] == "1000"
    assert known["efficientformerv2_s0.snap_dist_in1k"]["epochs"] == "450"
    assert known["resnet50.a3_in1k"]["epochs"] == "100"
    assert known["mobilevit_s.cvnets_in1k"]["augmentation"] == "basic"


@pytest.mark.parametrize("name", ["coatnet_0", "coatnet_0_dws", "efficientformer_l1"])
def test_traced_rows_are_what_the_architecture_lowers_to(name: str) -> None:
    evidence = load_evidence()
    row = next(i for i, network in enumerate(evidence.networks) if network == name)
    lowered = evaluate_columns(COLUMNS, hvnas.load_arch(name).lower())
    assert dict(zip(NAMES, evidence.values[row], strict=True)) == dict(zip(NAMES, lowered, strict=True))


@pytest.mark.parametrize(
    ("line", "message"),
    [("", "the column is missing"), ("broken", "could not convert"), ("fraction", "between 1 and 100")],
)
def test_a_broken_table_is_refused_by_name(tmp_path: Path, line: str, message: str) -> None:
    text = (DATA / "evidence.csv").read_text(encoding="utf-8").splitlines()[:3]
    if line == "":
        text[0] = text[0].replace("x.macs,", "")
    elif line == "broken":
        text[1] = text[1].replace(text[1].split(",")[5], "high", 1)
    else:
        text[1] = text[1].replace(text[1].split(",")[5], "0.79", 1)
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load_evidence(path)
    assert str(path) in str(caught.value)
