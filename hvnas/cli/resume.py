"""``hvnas resume``: go on with a search that was cut."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvnas.cli._searching import carry_out


def run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that hvnas search wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Go on with a search that was cut.

    The result is the one that the search would have had uncut; a finished one is shown again.
    """
    from hvnas.search import resume

    carry_out(lambda watcher: resume(folder, progress=watcher), folder=folder, as_json=as_json)
