"""``hvnas cache``: what runs have worked out and left to later ones."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hvnas._records import Column
from hvnas.cli._failure import Failure
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen, listing

EXAMPLE = "hvnas cache --clear"

_COLUMNS: tuple[Column[dict[str, Any]], ...] = (
    Column("file", "file"),
    Column(">kB", lambda row: row["bytes"] / 1e3, "{:,.0f}".format),
)


@answers
def run(clear: Annotated[bool, typer.Option("--clear", help="Delete the files.")] = False) -> Answer:
    """Show the cache, or clear it.

    It makes searches start faster and changes no result. HVNAS_CACHE=DIR names another folder;
    HVNAS_CACHE=off does without.
    """
    from hvnas._cache import cache_folder, cached_files

    folder, files = cache_folder(), cached_files()
    rows: list[dict[str, Any]] = [{"file": path.name, "bytes": path.stat().st_size} for path in files]
    for path in files if clear else ():
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise Failure(f"{path}: cannot be deleted: {error.strerror}; check its folder") from None

    def below(screen: Screen) -> None:
        total = f"{sum(row['bytes'] for row in rows) / 1e6:.1f} MB in {len(rows)} files"
        where = "no folder (HVNAS_CACHE=off, or no home)" if folder is None else str(folder)
        screen.line(f"  {total}{', deleted' if clear else ''}: {where}")

    return listing(_COLUMNS, rows, below=below)
