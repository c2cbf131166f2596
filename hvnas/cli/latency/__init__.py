"""``hvnas latency``: build, import, calibrate, check and read latency tables."""

from __future__ import annotations

from importlib import import_module

import typer

# The command, and the module of this package that holds its `run`.
COMMANDS: dict[str, str] = {
    "plan": "plan",
    "measure": "measure",
    "export-suite": "export_suite",
    "import": "import_",
    "calibrate": "calibrate",
    "predict": "predict",
    "table": "table",
    "validate": "validate",
}

app = typer.Typer(rich_markup_mode=None, help="Latency tables: build, import, calibrate, check, read.")


@app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _command, _module in COMMANDS.items():
    app.command(name=_command)(import_module(f"{__name__}.{_module}").run)
