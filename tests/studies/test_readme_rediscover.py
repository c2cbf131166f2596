"""The tables of rediscoveries in the studies' README hold what the studies find now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hvnas.studies.rediscovery import rediscover_efficientformer
from hvnas.studies.rediscovery.coatnet import LayoutRanks
from hvnas.studies.rediscovery.patterns import PATTERNS

README = (Path(__file__).parents[2] / "hvnas" / "studies" / "README.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its header."""
    section = README.split(f"\n{heading}\n")[1]
    table = re.search(r"(?:^\|.*\|\n)+", section, re.MULTILINE)
    assert table
    _, _, *lines = table[0].splitlines()
    return [[cell.strip().replace("−", "-") for cell in line.strip("|").split("|")] for line in lines]


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


@pytest.mark.slow
def test_patterns_and_percentiles_of_efficientformer() -> None:
    found = [finding for model in rediscover_efficientformer().models for finding in model.findings]
    shown = rows("### EfficientFormer")
    assert [row[1] for row in shown] == [finding.gate for finding in found]
    for row, finding in zip(shown, found, strict=True):
        assert [cell.split(":")[0] == "yes" for cell in row[2:6]] == [finding.held[name] for name in PATTERNS]
        assert finding.peers is not None
        assert row[6] == f"{finding.peers.top1_percentile:.1f}"
