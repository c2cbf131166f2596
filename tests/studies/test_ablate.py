"""Shipped ablation studies: what can be read off them, and that their counts are the published ones."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hvnas.studies.ablation import list_studies, load_study, run_study
from hvnas.studies.ablation.facts import agreement, published, tables, to_csv, to_json, undecided
from hvnas.studies.ablation.figure import write_study
from hvnas.studies.ablation.run import PartResult, StudyResult
from hvnas.studies.ablation.study import entries, known_of

COUNTED = ("coatnet-layouts", "efficientformer-placement", "poolformer-mixers", "stems")
SHIPPED = (*COUNTED, "linear-attention", "mobileformer-tokens", "mobilevit-patch")


@pytest.fixture(scope="module")
def coatnet() -> StudyResult:
    return run_study(load_study("coatnet-layouts"))


def part(found: StudyResult, name: str) -> PartResult:
    return next(result for result in found.parts if result.part.name == name)


def test_these_studies_ship() -> None:
    assert list_studies() == tuple(sorted(SHIPPED))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_network_of_a_study_can_be_built(name: str) -> None:
    study = load_study(name)
    for each in study.parts:
        rows, base = entries(study, each)
        assert len(rows) >= 2 and len({row.name for row in rows}) == len(rows)
        assert rows[base].arch.lower().params > 0


@pytest.mark.parametrize("name", COUNTED)
def test_params_and_macs_are_the_published_ones(name: str) -> None:
    """Exactly where a count is known, else within the printed digits (`known_of`)."""
    study = load_study(name)
    checked = 0
    for each in study.parts:
        for entry in entries(study, each)[0]:
            known = known_of(entry, each, each.device)
            assert all(known.agrees.values()), (each.name, entry.name, known)
            checked += len(known.agrees)
    assert checked >= 16, checked


def test_published_scores_of_table_5_all_stand_there() -> None:
    study = load_study("poolformer-mixers")
    scores = [
        known_of(entry, each, each.device).numbers["top1"]
        for each in study.parts
        for i, entry in enumerate(entries(study, each)[0])
        if i
    ]
    paper = [
        74.3,
        75.8,
        78.1,
        77.2,
        77.1,
        76.8,
        76.5,
        76.4,
        46.1,
        76.4,
        77.2,
        0.1,
        5.7,
        78.3,
        81.0,
        77.5,
        77.9,
    ]
    assert scores == paper


def test_layouts_are_of_one_size_or_say_that_they_are_not(coatnet: StudyResult) -> None:
    layouts = part(coatnet, "layouts")
    params, macs = layouts.base.params, layouts.base.macs
    assert layouts.base.name == "C-C-T-T"
    for row in layouts.rows:
        within = abs(row.params / params - 1) <= 0.05 and abs(row.macs / macs - 1) <= 0.05
        assert row.is_equal == within
        assert row.match is not None and row.match.off["params"] == pytest.approx(row.params / params - 1)
        assert bool(row.match.did) == (row.params != _as_written(coatnet, row.name))
    assert [row.name for row in layouts.rows if not row.is_equal] == ["ViT_REL"]


def _as_written(found: StudyResult, name: str) -> int:
    study = found.study
    rows, _ = entries(study, study.parts[0])
    return next(row.arch.lower().params for row in rows if row.name == name)


def test_places_are_shared_out_among_rows_of_one_size(coatnet: StudyResult) -> None:
    layouts = part(coatnet, "layouts")
    for k in range(2):
        first = [row.judged[k].p_first for row in layouts.rows]
        assert first[0] is None
        assert sum(p for p in first if p is not None) == pytest.approx(1.0)
        assert layouts.base.judged[k].p_better is None and layouts.base.judged[k].delta == 0
        said = undecided(layouts, k)
        for row in layouts.rows:
            p = row.judged[k].p_better
            assert (row.name in said) == (p is not None and 0.1 < p < 0.9)


def test_a_difference_that_no_feature_shows_is_even(coatnet: StudyResult) -> None:
    post = next(row for row in part(coatnet, "relative").rows if row.name == "post")
    assert post.judged[0].delta == pytest.approx(0.0, abs=0.05)
    assert post.judged[0].p_better == pytest.approx(0.5, abs=0.05)


def test_what_was_published_stands_beside_ours(coatnet: StudyResult) -> None:
    split = part(coatnet, "split")
    assert published(split, split.rows[1], "delta") == pytest.approx(-0.7)
    assert published(split, split.base, "top1") == 84.1
    assert split.rows[1].unseen[0].delta != split.rows[1].judged[0].delta
    layouts = part(coatnet, "layouts")
    scaled = next(row for row in layouts.rows if row.name == "C-C-C-C")
    assert published(layouts, scaled, "params") is None  # that of the network before it was scaled
    assert set(agreement(layouts, 0)) == {"1K top-1", "JFT precision"}


def test_json_and_csv_hold_every_row(coatnet: StudyResult) -> None:
    data = to_json(coatnet)
    table = list(csv.DictReader(io.StringIO(to_csv(coatnet))))
    assert len(table) == sum(len(each["rows"]) for each in data["parts"])
    row, flat = data["parts"][0]["rows"][1], table[1]
    assert flat["row"] == row["name"] and float(flat["ms"]) == row["latency"]["ms"]
    assert sum(row["latency"]["breakdown"].values()) == pytest.approx(row["latency"]["ms"])
    assert float(flat["imagenet1k mean"]) == row["estimates"]["imagenet1k"]["mean"]


def test_equal_results_are_equal_files(coatnet: StudyResult, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    one = replace(coatnet, parts=coatnet.parts[:1])
    written = [write_study(one, tmp_path / name) for name in ("a", "b")]
    assert [path.suffix for path in written[0]] == [".csv", ".png", ".svg"]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_tables_hold_published_counts_as_they_were_printed(coatnet: StudyResult) -> None:
    sizes, *accuracy, breakdown = tables(part(coatnet, "layouts"))
    base = next(row for row in sizes.rows if row[0] == "C-C-T-T (base)")
    assert base[1:5] == ("25.04", "25", "4.142", "4.2")
    assert [table.title for table in accuracy] == ["scenario imagenet1k", "scenario large-data"]
    assert "published top-1" in accuracy[0].columns and "published top-1" not in accuracy[1].columns
    assert all(len(row) == len(table.names) for table in (sizes, *accuracy, breakdown) for row in table.rows)


def test_placements_have_the_base_s_latency_where_it_is_in_reach() -> None:
    study = load_study("efficientformer-placement")
    found = run_study(study).parts[0]
    assert len(found.rows) == 16
    assert found.base.latency is not None
    ms = np.array([row.latency.ms if row.latency else np.nan for row in found.rows]) / found.base.latency.ms
    equal = np.array([row.is_equal for row in found.rows])
    assert ((abs(ms - 1) <= 0.05) == equal).all()
    assert equal[:5].all() and not equal[5:].any()  # MB3D in stage 3 costs more than all else
