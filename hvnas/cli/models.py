"""``hvnas models``: the fixed points."""

from __future__ import annotations

from typing import Any

from hvnas import _numbers as numbers
from hvnas._records import Column
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, listing

EXAMPLE = "hvnas models --format csv"

_COLUMNS: tuple[Column[dict[str, Any]], ...] = (
    Column("model", "name"),
    Column("family", "family"),
    Column(">resolution", "resolution"),
    Column(">params M", "params", numbers.millions),
    Column(">MACs G", "macs", numbers.billions),
    Column(">published top-1", "published.top1", numbers.optional),
    Column("recipe", "published.recipe"),
)


@answers
def run() -> Answer:
    """List the models of the papers.

    Each is a fixed point of a search space.
    """
    from hvnas.arch.files import model_facts

    return listing(_COLUMNS, model_facts())
