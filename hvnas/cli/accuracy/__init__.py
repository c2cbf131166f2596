"""``hvnas accuracy``: how well estimators of accuracy do, and estimators of your own."""

from __future__ import annotations

from importlib import import_module

import typer

# The command, and the module of this package that holds its `run`.
COMMANDS: dict[str, str] = {
    "evaluate": "evaluate",
    "fit": "fit",
    "rank": "rank",
    "proxies": "proxies",
}

app = typer.Typer(
    rich_markup_mode=None, help="Accuracy estimators: their errors, proxies, and one of your own results."
)


@app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _command, _module in COMMANDS.items():
    app.command(name=_command)(import_module(f"{__name__}.{_module}").run)
