"""Commands and groups of commands (``hvnas latency ...``), their help, and options for the library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

RECIPE = "modern300"
# Of `hvnas search`, and of the program.
MAIN_EXAMPLE = "hvnas search --device iphone12 --budget-ms 2 --out runs/phone"
_WIDEST = 30  # columns of an option's name; a longer one has a line of its own


class Command(TyperCommand):
    """A command whose help shows options in groups, and at its end an example."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, each group under its heading."""
        _write_options(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the example."""
        _write_example(self.epilog, formatter)


class Group(TyperGroup):
    """A group whose help ends in an example."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the example."""
        _write_example(self.epilog, formatter)


def _write_options(parameters: list[Any], ctx: Any, formatter: Any) -> None:
    rows: dict[str, list[tuple[str, str]]] = {"Arguments": []}
    loose: list[tuple[str, str]] = []
    for each in parameters:
        shown = each.get_help_record(ctx)
        if shown is None:
            continue
        if each.param_type_name == "argument":
            # Without the type that stands behind it.
            rows["Arguments"].append((shown[0].partition(" ")[0], shown[1]))
        elif isinstance(each, TyperOption) and each.rich_help_panel is not None:
            rows.setdefault(each.rich_help_panel, []).append(shown)
        else:
            loose.append(shown)
    grouped = len(rows) > 1
    if "Output" in rows:
        rows["Output"] = rows.pop("Output")  # the last
    rows["Other options" if grouped else "Options"] = loose
    names = [name for group in rows.values() for name, _ in group]
    width = min(max(map(len, names), default=0), _WIDEST)
    for heading, group in rows.items():
        if group:
            with formatter.section(heading):
                # The groups line up with each other.
                formatter.write_dl([(name.ljust(width), text) for name, text in group], col_max=_WIDEST)


def _write_example(example: str | None, formatter: Any) -> None:
    if example is not None:
        with formatter.section("Example"):
            # Whole, however long: it is there to be copied.
            formatter.write(f"{'':{formatter.current_indent}}{example}\n")


def add_command(app: typer.Typer, name: str, run: Callable[..., None], *, example: str) -> None:
    """Add a command, with an example for its help."""
    app.command(name=name, cls=Command, epilog=example)(run)


def new_group(help: str) -> typer.Typer:
    """A group that shows its help where no command of it is named."""
    group = typer.Typer(rich_markup_mode=None, help=help)

    @group.callback(invoke_without_command=True)
    def show_help(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    return group


def make_group(package: str, commands: Mapping[str, str], *, help: str) -> typer.Typer:
    """The group of a package: each command's name, and the module of the package that holds it.

    The module has the command as `run`, and an `EXAMPLE` of it.
    """
    group = new_group(help)
    for command, name in commands.items():
        module = import_module(f"{package}.{name}")
        add_command(group, command, module.run, example=module.EXAMPLE)
    return group


def given(**options: Any) -> dict[str, Any]:
    """The options that were given: the library knows the defaults of the others."""
    return {name: value for name, value in options.items() if value is not None}
