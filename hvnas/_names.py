"""One line for a name that does not exist."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from hvnas._validation import shown

MOST_CHARACTERS = 240


def unknown_name(what: str, name: str, known: Sequence[str], alternative: str = "") -> str:
    """``unknown model 'x'; did you mean 'y'? There are: ...``."""
    # How alike names are takes time in the square of their length, and a file may name anything.
    close = get_close_matches(name, known, n=1, cutoff=0.4) if len(name) <= 200 else []
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    listed = _listed(known) if known else "none"
    also = f" (or {alternative})" if alternative else ""
    return f"unknown {what} {shown(name)}{hint} There are: {listed}{also}"


def _listed(names: Sequence[str]) -> str:
    """The names, as many of them as a line holds."""
    if len(", ".join(names)) <= MOST_CHARACTERS:
        return ", ".join(names)
    few: list[str] = []
    for name in names:
        if len(", ".join([*few, name])) > MOST_CHARACTERS:
            break
        few.append(name)
    return f"{', '.join(few)} and {len(names) - len(few)} more"
