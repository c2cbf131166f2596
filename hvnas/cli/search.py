"""``hvnas search``: the best networks within a latency budget on a device."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hvnas.cli._failure import Failure
from hvnas.cli._group import MAIN_EXAMPLE
from hvnas.cli._request import takes
from hvnas.cli._screen import JsonOption
from hvnas.cli._searching import run_search
from hvnas.search.request import SearchRequest

EXAMPLE = MAIN_EXAMPLE

_RUNS = Path("runs")


@takes(SearchRequest)
def run(
    request: SearchRequest,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel="Output", metavar="DIR", help="The folder to write. Default: a new one in runs/."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", rich_help_panel="Output", help="Continue the run in --out, if any.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find networks that meet a latency budget.

    Prints the Pareto front of latency and top-1, the best network stage by stage, the models of papers
    nearest to it, and the files written. Exits with 3 where no network meets the budget.
    """
    from hvnas.search.run import resume_as, start
    from hvnas.search.runs.folder import SearchFolder

    if resume and out is None:
        raise Failure("--resume continues the run in a folder; name the folder with --out")
    folder = out or _new_folder(str(request.device[0]), request.budget_ms)
    search = partial(resume_as if resume and SearchFolder(folder).holds_run else start, request, out=folder)
    run_search(lambda watcher, stop: search(progress=watcher, stop=stop), folder=folder, as_json=as_json)


def _new_folder(device: str, budget_ms: float | None) -> Path:
    """A folder in runs/ that is not there yet, named by device and budget."""
    name = Path(device).stem + ("" if budget_ms is None else f"-{budget_ms:g}ms")
    number = 1
    while (folder := _RUNS / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder
