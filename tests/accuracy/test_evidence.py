"""The evidence that ships: complete, sourced, and what our own lowering gives."""

from __future__ import annotations

import csv
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import hvnas
from hvnas.accuracy.evaluate import FAMILIES
from hvnas.accuracy.surrogate.evidence import DATA, load_evidence
from hvnas.accuracy.surrogate.features import COLUMNS, NAMES
from hvnas.ops import evaluate_columns


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def overrides() -> list[dict[str, str]]:
    return rows("recipes_override.csv")


def rows_of_overrides(model: str) -> list[dict[str, str]]:
    return [row for row in overrides() if fnmatchcase(model, row["pattern"])]


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
    # EfficientViT's L networks learn from their own moving average, the B networks from labels alone.
    assert known["efficientvit_l2.r224_in1k"]["distilled"] == "true"
    assert known["efficientvit_b2.r224_in1k"]["distilled"] == "false"


def test_training_in_the_evidence_is_what_tags_and_overrides_say() -> None:
    tags = {row["tag"]: row for row in rows("recipe_tags.csv")}
    published = {row["model"]: row for row in rows("published.csv")}
    for row in rows("evidence.csv"):
        if row["origin"] != "timm":
            continue
        source = published[row["model"]]
        said = {"augmentation": tags.get(source["tag"], {}).get("augmentation") or "modern"}
        said["distilled"] = source["distilled"]
        for override in rows_of_overrides(row["model"]):
            said |= {field: override[field] for field in said if override[field]}
        assert {field: row[field] for field in said} == said, row["model"]


@pytest.mark.parametrize("name", ["coatnet_0", "coatnet_0_dws", "efficientformer_l1"])
def test_traced_rows_are_what_the_architecture_lowers_to(name: str) -> None:
    evidence = load_evidence()
    row = next(i for i, network in enumerate(evidence.networks) if network == name)
    lowered = evaluate_columns(COLUMNS, hvnas.load_arch(name).lower())
    found = dict(zip(NAMES, lowered, strict=True))
    # Sums of fractions depend on the order of the ops in the last digit.
    assert found == pytest.approx(dict(zip(NAMES, evidence.values[row], strict=True)), rel=1e-12)


@pytest.mark.parametrize(
    ("line", "message"),
    [("", "x.macs: missing column"), ("broken", "could not convert"), ("fraction", "between 1 and 100")],
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
