"""One line for a name that does not exist."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


def unknown_name(what: str, name: str, known: Sequence[str], alternative: str = "") -> str:
    """``unknown model 'x'; did you mean 'y'? There are: ...``."""
    close = get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    listed = ", ".join(known) if known else "none"
    also = f" (or {alternative})" if alternative else ""
    return f"unknown {what} {name!r}{hint} There are: {listed}{also}"
