"""``hvnas spaces``: the search spaces that ship."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas.cli._screen import Screen, print_json

if TYPE_CHECKING:
    from hvnas.space import Space


def run(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False) -> None:
    """List the search spaces.

    Their size, and which models of the papers lie inside.
    """
    from hvnas.space import list_spaces, load_space

    rows = [_row(load_space(name)) for name in list_spaces()]
    if as_json:
        print_json(rows)
        return
    screen = Screen()
    screen.table(
        ("space", ">architectures", "restricts", ">genes", ">fixed points"),
        [
            (row["name"], f"{row['size']:.2e}", row["parent"], row["genes"], len(row["fixed_points"]))
            for row in rows
        ],
    )
    for row in rows:
        screen.heading(f"{row['name']}: {row['size']:,} architectures; fixed points inside:")
        screen.line("  " + (", ".join(row["fixed_points"]) or "none"))


def _row(space: Space) -> dict[str, Any]:
    return {
        "name": space.name,
        "size": space.size,
        "parent": space.spec.parent,
        "genes": len(space.genes),
        "fixed_points": list(space.fixed_points()),
        "hash": space.hash,
    }
