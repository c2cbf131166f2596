"""Commands of commands: ``hvnas latency ...``, ``hvnas accuracy ...``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

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
