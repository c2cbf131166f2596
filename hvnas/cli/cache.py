"""``hvnas cache``: what runs have worked out and left to later ones."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hvnas.cli._failure import Failure
from hvnas.cli._screen import Screen, print_json


def run(
    clear: Annotated[bool, typer.Option("--clear", help="Delete the files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the cache, or clear it.

    It makes searches start faster and changes no result. HVNAS_CACHE=DIR names another folder;
    HVNAS_CACHE=off does without.
    """
    from hvnas._cache import cache_folder, cached_files

    folder, files = cache_folder(), cached_files()
    sizes = {path.name: path.stat().st_size for path in files}
    if clear:
        for path in files:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise Failure(f"{path}: cannot be deleted: {error.strerror}; check its folder") from None
    facts: dict[str, Any] = {"folder": folder and str(folder), "files": sizes, "cleared": clear}
    if as_json:
        print_json(facts)
        return
    screen = Screen()
    screen.fields([("folder", "none (HVNAS_CACHE=off, or no home)" if folder is None else str(folder))])
    screen.table(("file", ">kB"), [(name, f"{size / 1e3:,.0f}") for name, size in sizes.items()])
    total = f"{sum(sizes.values()) / 1e6:.1f} MB in {len(sizes)} files"
    screen.line(f"  {total}, deleted" if clear else f"  {total}")
