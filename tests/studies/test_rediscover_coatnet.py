"""CoAtNet's layouts at one size, ranked without CoAtNet."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from hvnas.arch import load_arch
from hvnas.studies.rediscovery.coatnet import (
    COLUMNS,
    LAYOUTS,
    PROTOCOLS,
    LayoutRanks,
    every_pattern,
    pattern_verdict,
    size_of,
    small_layouts,
    spread,
    verdict,
)
from hvnas.studies.rediscovery.output import check_out, to_csv, to_json, write


@pytest.fixture
def study(coatnet_ranks: LayoutRanks) -> LayoutRanks:
    return coatnet_ranks


def test_the_five_layouts_agree_in_size(study: LayoutRanks) -> None:
    assert list(study.layouts) == list(LAYOUTS)
    assert spread(study.layouts, "params") <= 0.05 and spread(study.layouts, "macs") <= 0.05
    programs = [found.arch.lower() for found in study.layouts.values()]
    assert max(p.params for p in programs) / min(p.params for p in programs) <= 1.05


def test_every_place_has_a_probability_under_each_protocol(study: LayoutRanks) -> None:
    assert [each.name for each in study.protocols] == list(PROTOCOLS)
    for each in study.protocols:
        assert tuple(each.columns) == COLUMNS
        for ranked in each.columns.values():
            assert sorted(ranked.order) == sorted(LAYOUTS)
            values = [ranked.value[name] for name in ranked.order]
            assert values == sorted(values, reverse=True)
            for place in range(len(LAYOUTS)):
                assert sum(chances[place] for chances in ranked.chances.values()) == pytest.approx(1)
            assert all(sum(chances) == pytest.approx(1) for chances in ranked.chances.values())
            assert len(ranked.p_above_next) == len(LAYOUTS) - 1 and min(ranked.p_above_next) >= 0.4


def test_transfer_is_top1_and_what_large_data_adds(study: LayoutRanks) -> None:
    for each in study.protocols:
        for name in LAYOUTS:
            parts = each.columns["imagenet1k"].value[name] + each.columns["capacity"].value[name]
            assert each.columns["transfer"].value[name] == pytest.approx(parts)


def test_an_order_that_the_evidence_does_not_support_is_marked(study: LayoutRanks) -> None:
    for each in study.protocols:
        for ranked in each.columns.values():
            assert ranked.is_supported == tuple(chance >= 0.9 for chance in ranked.p_above_next)


def test_taus_lie_in_their_range(study: LayoutRanks) -> None:
    for each in study.protocols:
        assert [tau.published for tau in each.taus] == ["top-1", "generalization", "capacity", "transfer"]
        assert all(-1 <= tau.low <= tau.tau <= tau.high <= 1 for tau in each.taus)


def test_the_verdict_says_whether_and_why(study: LayoutRanks) -> None:
    *said, unknown = verdict(study)
    assert "C-C-C-T and C-C-T-T is not identified" in unknown
    for each, sentence in zip(study.protocols, said, strict=True):
        first = each.columns["combined"].order[0] == "C-C-T-T"
        assert ("not rediscovered" in sentence) == (not first)
        assert (each.name in study.again) == (not first)
    for again in study.again.values():
        assert [(a.regression, a.shift) for a in again] == [(True, False), (False, True), (True, True)]


def test_it_becomes_plain_data_a_table_and_a_figure(study: LayoutRanks, tmp_path: Path) -> None:
    data = to_json(study)
    assert data["layouts"]["C-C-T-T"]["params"] == study.layouts["C-C-T-T"].arch.lower().params
    assert data["verdict"] == verdict(study)
    rows = list(csv.DictReader(io.StringIO(to_csv(study))))
    assert len(rows) == len(PROTOCOLS) * len(COLUMNS) * len(LAYOUTS)
    assert len(data["patterns"]["layouts"]) == len(study.search.layouts)
    assert data["patterns"]["verdict"] == pattern_verdict(study.search)
    table, figure, patterns = write(study, tmp_path / "out")
    assert table.read_text() == to_csv(study) and figure.stat().st_size > 10_000
    assert patterns.name == "rediscover-coatnet-patterns.csv"
    rows = list(csv.DictReader(io.StringIO(patterns.read_text())))
    assert len(rows) == len(PROTOCOLS) * len(COLUMNS) * len(study.search.layouts)


def test_every_pattern_of_four_stages_is_made_of_the_same_parts() -> None:
    made = every_pattern()
    assert len(made) == 16 and len({arch.hash for arch in made.values()}) == 16
    for name, base in LAYOUTS.items():
        if name != "ViT_REL":
            assert made[name] == load_arch(base)
    assert [run.block.type for _, run in made["T-C-C-T"].stages[0].runs] == ["coat_transformer"]
    assert [stage.width for stage in made["T-C-T-C"].stages] == [96, 192, 384, 768]


def test_all_patterns_are_ranked_at_the_size_of_the_five(study: LayoutRanks) -> None:
    search, size = study.search, size_of(study.layouts["C-C-T-T"])
    assert {*search.layouts, *search.missed} == set(every_pattern())
    assert len(search.layouts) > 12
    for found in search.layouts.values():
        program = found.arch.lower()
        assert program.params == pytest.approx(size["params"], rel=0.05)
        assert program.macs == pytest.approx(size["macs"], rel=0.05)
    for each in search.protocols:
        for ranked in each.columns.values():
            assert sorted(ranked.order) == sorted(search.layouts)
            assert sum(chances[0] for chances in ranked.chances.values()) == pytest.approx(1)


def test_the_verdict_on_all_patterns_names_the_first(study: LayoutRanks) -> None:
    said = pattern_verdict(study.search)
    assert len(said) == len(PROTOCOLS)
    for each, sentence in zip(study.search.protocols, said, strict=True):
        first = each.columns["combined"].order[0]
        assert f"{first} is first on capacity" in sentence and each.name in sentence
        assert (", C-C-T-T number" in sentence) == (first != "C-C-T-T")


def test_a_file_is_no_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ValueError, match="is a file; name a folder"):
        check_out(tmp_path / "taken")


def test_small_layouts_are_the_paper_s_at_one_size() -> None:
    small = small_layouts(32)
    assert list(small) == list(LAYOUTS)
    programs = [arch.with_(classes=10).lower() for arch in small.values()]
    for sizes in ([p.params for p in programs], [p.macs for p in programs]):
        assert max(sizes) / min(sizes) <= 1.05
    for name, arch in small.items():
        paper = load_arch(LAYOUTS[name])
        own = [[run.block.type for _, run in stage.runs] for stage in arch.stages]
        assert own == [[run.block.type for _, run in stage.runs] for stage in paper.stages]
    sides = [state.map[1] for label, _, state in small["C-C-T-T"].states() if label.endswith(".0")]
    assert sides == [16, 16, 8, 4]  # what each stage is given; all but the first halve it


def test_a_resolution_that_the_layouts_cannot_halve_is_refused() -> None:
    with pytest.raises(ValueError, match=r"resolution: the layouts halve 40 px .*a multiple of 16"):
        small_layouts(40)
