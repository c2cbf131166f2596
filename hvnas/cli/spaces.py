"""``hvnas spaces``: the search spaces that ship, and what a space file allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas.cli._screen import Screen, print_json

if TYPE_CHECKING:
    from hvnas.space import Space

app = typer.Typer(rich_markup_mode=None, help="Search spaces: list them, show one, check a file of your own.")

_SHOWN = 24
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A space by name, or a YAML file.")]


@app.callback(invoke_without_command=True)
def run(context: typer.Context, as_json: AsJson = False) -> None:
    """List the search spaces, or show or check one.

    Shows their size, and which models of the papers lie inside.
    """
    if context.invoked_subcommand is not None:
        return
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


@app.command(name="show")
def show(space: Name, as_json: AsJson = False) -> None:
    """Show a space: its genes with their lists, stage by stage, its rules and its limits."""
    from hvnas.space import load_space

    loaded = load_space(space)
    genes = {gene.name: list(gene.values) for gene in loaded.genes}
    if as_json:
        print_json(_row(loaded) | {"genes": genes, "rules": loaded.spec.rules, "limits": loaded.limits})
        return
    screen = Screen()
    _summary(screen, loaded)
    screen.table(
        ("gene", ">values", "list"),
        [(name, len(values), _listed(values)) for name, values in genes.items()],
    )


@app.command(name="check")
def check(space: Name, as_json: AsJson = False) -> None:
    """Say what a space file allows: its size, the fixed points inside, and what no network can have."""
    from hvnas.space import load_space

    loaded = load_space(space)
    unused = loaded.unused()
    if as_json:
        print_json(_row(loaded) | {"limits": loaded.limits, "unused": unused})
        return
    screen = Screen()
    _summary(screen, loaded)
    screen.line(f"  fixed points  {', '.join(loaded.fixed_points()) or 'none of the papers'}")
    if not unused:
        screen.line("  unused        nothing: every value of its lists is part of some network")
        return
    screen.heading("Values that occur in no network, since nothing that contains them can be built")
    for field, values in unused.items():
        screen.line(f"  {field}: {', '.join(values)}")


def _summary(screen: Screen, space: Space) -> None:
    limits = ", ".join(f"{name} <= {limit:g}" for name, limit in space.limits.items())
    screen.heading(f"{space.name}: {space.size:,} architectures in {len(space.genes)} genes")
    screen.line(f"  restricts     {space.spec.parent or 'nothing'}")
    screen.line(f"  rules         {', '.join(space.spec.rules) or 'none'}")
    screen.line(f"  limits        {limits or 'none'}{', which its size does not count' if limits else ''}")


def _listed(values: list[Any]) -> str:
    more = f", and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(map(str, values[:_SHOWN])) + more


def _row(space: Space) -> dict[str, Any]:
    return {
        "name": space.name,
        "size": space.size,
        "parent": space.spec.parent,
        "genes": len(space.genes),
        "fixed_points": list(space.fixed_points()),
        "hash": space.hash,
    }
