"""``hvnas resume``: continue an interrupted search."""

from __future__ import annotations

from dataclasses import replace

from hvnas.cli._request import RunStorage, SearchDir
from hvnas.cli._screen import JsonOption
from hvnas.cli._searching import run_search

EXAMPLE = "hvnas resume runs/phone"


def run(
    folder: SearchDir,
    storage: RunStorage = None,
    as_json: JsonOption = False,
) -> None:
    """Continue an interrupted search.

    The result is the same as without the interruption; a finished search is shown again.
    """
    from hvnas.search import resume
    from hvnas.search.runs.folder import SearchFolder

    engine = None if storage is None else replace(SearchFolder(folder).config.engine, storage=storage)
    run_search(
        lambda watcher, stop: resume(folder, engine=engine, progress=watcher, stop=stop),
        folder=folder,
        as_json=as_json,
    )
