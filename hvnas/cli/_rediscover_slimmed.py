"""The supernet's part of a rediscovery, printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvnas.cli import _numbers as numbers
from hvnas.cli._screen import Screen

if TYPE_CHECKING:
    from hvnas.studies.rediscovery.slimmed import Chance, Slimmed, WithSupernet

Row = tuple[str | None, ...]


def print_slimmed(screen: Screen, slimmed: WithSupernet) -> None:
    """What each way found at each budget, and what chance has to offer."""
    from hvnas.studies.rediscovery.patterns import PATTERNS

    screen.heading(f"With the supernet in {slimmed.folder}, the gate off: space {slimmed.space}")
    screen.line(f"  top-1 {slimmed.meaning}; both: mean rank by surrogate and supernet")
    screen.line("  slimming starts from a network with the patterns, the searches start from nothing")
    screen.line("  all four: the best, by the supernet, of random members with all four patterns")
    rows = []
    for chance in slimmed.chances:
        rows += [_slimmed_row(each) for each in slimmed.found if each.share == chance.share]
        rows.append(_chance_row(chance))
    columns = (">budget ms", "by", *(f"stage {i}" for i in range(1, 5)), ">ms", ">top-1 or rank", *PATTERNS)
    screen.table(columns, rows)


def _slimmed_row(each: Slimmed) -> Row:
    from hvnas.studies.rediscovery.slimmed import BOTH

    return (
        numbers.ms(each.budget_ms),
        each.way,
        *[*each.layout.stage_texts, *4 * [None]][:4],
        numbers.ms(each.ms),
        f"{each.top1:.3f}" if each.way == BOTH else f"{each.top1:.1f}",
        *("yes" if has else "no" for has in each.held.values()),
    )


def _chance_row(chance: Chance) -> Row:
    """What random members within the budget have."""
    from hvnas.studies.rediscovery.patterns import PATTERNS

    shares = (None if (share := chance.held[name]) is None else f"{100 * share:.0f} %" for name in PATTERNS)
    return (
        numbers.ms(chance.budget_ms),
        f"{chance.members} random members",
        *(None,) * 4,
        None,
        None,
        *shares,
    )
