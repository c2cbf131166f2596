"""The tables of rediscoveries in the studies' README hold what the studies find now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hvnas.studies.rediscovery import rediscover_efficientformer
from hvnas.studies.rediscovery.coatnet import LayoutRanks
from hvnas.studies.rediscovery.patterns import PATTERNS

README = (Path(__file__).parents[2] / "hvnas" / "studies" / "README.md").read_text(encoding="utf-8")


def rows(heading: str, *, table: int = 0) -> list[list[str]]:
    """Cells of a table below a heading, the first unless `table` says which, without its header."""
    section = README.split(f"\n{heading}\n")[1]
    _, _, *lines = re.findall(r"(?:^\|.*\|\n)+", section, re.MULTILINE)[table].splitlines()
    return [[plain(cell) for cell in line.strip("|").split("|")] for line in lines]


def plain(cell: str) -> str:
    """A cell as the command prints it."""
    return cell.strip().translate({ord("−"): "-", ord("–"): "-", ord("×"): "x", ord(","): None})


def test_places_of_coatnet_s_layouts(coatnet_ranks: LayoutRanks) -> None:
    modern = coatnet_ranks.protocols[0]
    shown = rows("### CoAtNet")
    for i, name in enumerate(("imagenet1k", "capacity", "transfer", "combined"), start=1):
        column = modern.columns[name]
        cells = [row[i].split() for row in shown[:5]]
        assert tuple(layout for layout, _ in cells) == column.order
        for place, (layout, chance) in enumerate(cells):
            assert float(chance) == pytest.approx(column.chances[layout][place], abs=0.005)
    taus = {tau.published.split(":")[0]: tau.tau for tau in modern.taus}
    assert shown[5][1:4] == [f"{taus[name]:.2f}" for name in ("top-1", "capacity", "transfer")]


def test_first_places_of_all_patterns(coatnet_ranks: LayoutRanks) -> None:
    columns = coatnet_ranks.search.protocols[0].columns
    shown = rows("### CoAtNet", table=1)
    assert [row[0] for row in shown] == list(columns["combined"].order[: len(shown)])
    for name, *cells in shown:
        for column, cell in zip(columns.values(), cells, strict=True):
            assert float(cell) == pytest.approx(column.chances[name][0], abs=0.005)


@pytest.mark.slow
def test_patterns_and_percentiles_of_efficientformer() -> None:
    study = rediscover_efficientformer()
    found = [finding for model in study.models for finding in model.findings]
    shown = rows("### EfficientFormer")
    assert [row[1] for row in shown] == [finding.gate for finding in found]
    for row, finding in zip(shown, found, strict=True):
        assert [cell.split(":")[0] == "yes" for cell in row[2:6]] == [finding.held[name] for name in PATTERNS]
        assert finding.peers is not None
        assert row[6] == f"{finding.peers.top1_percentile:.1f}"
    for row, finding in zip(rows("### EfficientFormer", table=1), found, strict=True):
        assert finding.near is not None
        told = [float(cell) for cell in row[3:]]
        assert told == pytest.approx(list(finding.near.patterns.values()), abs=0.1)
    slimmed = {(stop.model, path.gate): stop.found.layout for path in study.paths for stop in path.stops}
    assert len(slimmed) == 2 * len(study.models)
    shown = rows("### EfficientFormer", table=3)
    for i, model in enumerate(study.models):
        layouts = [model.paper.layout, *(slimmed[model.name, gate] for gate in ("on", "off"))]
        for row, layout in zip(shown[3 * i : 3 * i + 3], layouts, strict=True):
            assert row[2:6] == [text.replace(",", "") for text in layout.stage_texts]
