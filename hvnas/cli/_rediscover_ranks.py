"""Ranks of a family's layouts, printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hvnas.cli import _numbers as numbers
from hvnas.cli._screen import Screen

if TYPE_CHECKING:
    from hvnas.studies.rediscovery.coatnet import LayoutRanks, Ranked


def print_ranks(screen: Screen, found: LayoutRanks) -> None:
    """Sizes, places with their chances, agreement with the published orders, and the verdict."""
    from hvnas.studies.rediscovery.coatnet import COLUMNS, PUBLISHED, spread, verdict

    screen.line("CoAtNet left out: are its five layouts ranked as published?", style="bold")
    apart = [f"{100 * spread(found.layouts, name):.1f} %" for name in ("params", "macs")]
    screen.fields(
        [
            ("surrogate", f"fitted without {found.rows} results; large-data shift without CoAtNet's pairs"),
            ("sizes", f"params within {apart[0]}, MACs within {apart[1]}"),
        ]
    )
    screen.heading("Layouts")
    screen.table(("layout", ">params M", ">MACs G", "scaled"), _size_rows(found))
    for each in found.protocols:
        screen.heading(
            f"Protocol {each.name} (recipe {each.recipe}): place, chance of it, chance to be above the next"
        )
        rows = zip(*(_rank_cells(each.columns[column]) for column in COLUMNS), strict=True)
        screen.table((">place", *COLUMNS), [(i + 1, *row) for i, row in enumerate(rows)])
        screen.line()
        screen.table(
            ("published order", "column", ">Kendall tau", ">5-95 %"),
            [
                (
                    f"{tau.published}: {PUBLISHED[tau.published][2]}",
                    tau.column,
                    f"{tau.tau:.2f}",
                    f"{tau.low:.2f} to {tau.high:.2f}",
                )
                for tau in each.taus
            ],
        )
    screen.line()
    for sentence in verdict(found):
        screen.line(sentence)


def _size_rows(found: LayoutRanks) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for name, made in found.layouts.items():
        program = made.arch.lower()
        rows.append(
            (name, numbers.millions(program.params), numbers.billions(program.macs), made.did or None)
        )
    return rows


def _rank_cells(ranked: Ranked) -> list[str]:
    cells = []
    for place, name in enumerate(ranked.order):
        own = numbers.chance(ranked.chances[name][place])
        told = _told(ranked, place)
        cells.append(f"{name} {_value(ranked.value, name)} (p {own}{told})")
    return cells


def _value(values: Mapping[str, float], name: str) -> str:
    # A mean place is kept as its negative, so that more is better.
    value = values[name]
    if max(values.values()) < -0.9:
        return f"place {-value:.2f}"
    return f"{value:.1f}" if value > 20 else f"{value:+.2f}"


def _told(ranked: Ranked, place: int) -> str:
    if place >= len(ranked.told):
        return ""
    mark = "" if ranked.is_supported[place] else "?"
    return f", > {numbers.chance(ranked.told[place])}{mark}"
