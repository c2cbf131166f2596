"""Where the files that ship beside the code lie."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """Return the folder of shipped data called ``name``.

    An installed wheel carries the folder inside the package, as ``hvnas/_data/NAME``; a checkout keeps it
    at the root of the repository, beside ``hvnas/``. The former wins where both exist.

    Args:
        name: the folder's name, such as ``"search_spaces"`` or ``"latency_tables"``.

    Raises:
        ValueError: neither place holds such a folder.
    """
    candidates = (_PACKAGE / "_data" / name, _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise ValueError(
        f"the data folder {name!r} is missing from this installation "
        f"(looked for {' and '.join(map(str, candidates))}). "
        "Reinstall hvnas, or run it from a complete checkout."
    )
