"""``hvnas spaces``: the search spaces that ship, and what a space file allows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas._files import data_dir
from hvnas._records import Column, Table, csv_of, csv_text
from hvnas.cli._group import Group, add_command
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen, listing

if TYPE_CHECKING:
    from hvnas.space import Space

app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,
    epilog="hvnas spaces --format csv",
    help="Search spaces: list them, show one, check a file of your own.",
)

_SHOWN = 24
Name = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A space by name, or a YAML file.")]


_COLUMNS: tuple[Column[dict[str, Any]], ...] = (
    Column("space", "name"),
    Column(">architectures", "size", "{:.2e}".format),
    Column("restricts", "parent"),
    Column(">genes", "genes"),
    Column(">fixed points", "fixed_points", len),
)


@app.callback(invoke_without_command=True)
@answers
def run(context: typer.Context) -> Answer | None:
    """List the search spaces, or show or check one.

    Shows their size, and which models of the papers lie inside.
    """
    if context.invoked_subcommand is not None:
        return None
    from hvnas.space import list_spaces, load_space

    rows = [_row(load_space(name)) for name in list_spaces()]

    def below(screen: Screen) -> None:
        for row in rows:
            screen.heading(f"{row['name']}: {row['size']:,} architectures; fixed points inside:")
            screen.line("  " + (", ".join(row["fixed_points"]) or "none"))

    return listing(_COLUMNS, rows, below=below)


@answers
def show(space: Name) -> Answer:
    """Show a space: its genes with their lists, its rules and limits."""
    from hvnas.space import load_space

    loaded = load_space(space)
    genes = [(gene.name, list(gene.values)) for gene in loaded.genes]
    columns: tuple[Column[tuple[str, list[Any]]], ...] = (
        Column("gene", lambda gene: gene[0]),
        Column(">values", lambda gene: len(gene[1])),
        Column("list", lambda gene: gene[1], _listed),
    )

    def text(screen: Screen) -> None:
        _summary(screen, loaded)
        screen.show(Table.of(columns, genes))

    return Answer(
        text=text,
        data=lambda: (
            _row(loaded) | {"genes": dict(genes), "rules": loaded.spec.rules, "limits": loaded.limits}
        ),
        csv=lambda: csv_of(columns, genes),
    )


@answers
def check(space: Name) -> Answer:
    """Check a space file, and show what it allows.

    Shows its size, the fixed points inside, and values that no network can have.
    """
    from hvnas.space import load_space

    loaded = load_space(space)
    unused = loaded.unused()

    def text(screen: Screen) -> None:
        _summary(screen, loaded)
        screen.line(f"  fixed points  {', '.join(loaded.fixed_points()) or 'none of the papers'}")
        if not unused:
            screen.line("  unused        nothing: every value of its lists is part of some network")
            return
        screen.heading("Values that occur in no network, since nothing that contains them can be built")
        for field, values in unused.items():
            screen.line(f"  {field}: {', '.join(values)}")

    return Answer(
        text=text,
        data=lambda: _row(loaded) | {"limits": loaded.limits, "unused": unused},
        csv=lambda: csv_text(
            ({"field": field, "unused": value} for field, values in unused.items() for value in values),
            ["field", "unused"],
        ),
    )


@answers
def schema() -> Answer:
    """Print a JSON schema of space files, for editors.

    Redirect it to a file, and name that in the first line of yours, as search_spaces/README.md shows.
    """
    text = (data_dir("search_spaces") / "space.schema.json").read_text(encoding="utf-8")
    return Answer(
        text=lambda screen: screen.line(text.rstrip()),
        data=lambda: json.loads(text),
        csv=lambda: csv_text(
            {"field": name, "description": field["description"]}
            for name, field in json.loads(text)["properties"].items()
        ),
    )


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


add_command(app, "show", show, example="hvnas spaces show hybrid-mobile")
add_command(app, "check", check, example="hvnas spaces check hybrid-tiny")
add_command(app, "schema", schema, example="hvnas spaces schema")
