"""Commands of commands (``hvnas latency ...``), and options on their way to the library."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer


def make_group(package: str, commands: Mapping[str, str], *, help: str) -> typer.Typer:
    """The group of a package: each command's name, and the module of the package that holds its `run`."""
    group = typer.Typer(rich_markup_mode=None, help=help)

    @group.callback(invoke_without_command=True)
    def show_help(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    for command, module in commands.items():
        group.command(name=command)(import_module(f"{package}.{module}").run)
    return group


RECIPE = "modern300"


def given(**options: Any) -> dict[str, Any]:
    """The options that were given: the library knows the defaults of the others."""
    return {name: value for name, value in options.items() if value is not None}
