"""``hvnas models``: the fixed points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas import _numbers as numbers
from hvnas.cli._screen import Screen, print_json

if TYPE_CHECKING:
    from hvnas.arch import Arch


def run(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False) -> None:
    """List the models of the papers.

    Each is a fixed point of a search space.
    """
    from hvnas.arch import list_models, load_arch

    rows = [_row(load_arch(name)) for name in list_models()]
    if as_json:
        print_json(rows)
        return
    Screen().table(
        ("model", "family", ">resolution", ">params M", ">MACs G", ">published top-1", "recipe"),
        [
            (
                row["name"],
                row["family"],
                row["resolution"],
                numbers.millions(row["params"]),
                numbers.billions(row["macs"]),
                numbers.optional(row["published"].get("top1")),
                row["published"].get("recipe"),
            )
            for row in rows
        ],
    )


def _row(arch: Arch) -> dict[str, Any]:
    program = arch.lower()
    published = dict(arch.published or {})
    return {
        "name": arch.name,
        "family": published.get("family"),
        "resolution": arch.resolution,
        "params": program.params,
        "macs": program.macs,
        "published": published,
    }
