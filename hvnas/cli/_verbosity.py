"""How much is said beside results and errors: nothing (``-q``), how it goes, or why it failed (``-v``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

QUIET, VERBOSE = ("-q", "--quiet"), ("-v", "--verbose")


@dataclass
class _Verbosity:
    level: int = 0


_NOW = _Verbosity()


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """For this command; one of them at most. Raises ValueError where both are asked for."""
    if quiet and verbose:
        raise ValueError("-q and -v: one asks for less and one for more; leave one out")
    _NOW.level = int(verbose) - int(quiet)
    if verbose:
        _show_logs()


def is_quiet() -> bool:
    """Whether nothing is to be said but results and errors."""
    return _NOW.level < 0


def is_verbose() -> bool:
    """Whether an error is to show where it comes from."""
    return _NOW.level > 0


def hoisted(args: Sequence[str]) -> list[str]:
    """The arguments with ``-q`` and ``-v`` before the command: they may stand anywhere up to ``--``."""
    end = args.index("--") if "--" in args else len(args)
    flags = [arg for arg in args[:end] if arg in (*QUIET, *VERBOSE)]
    return [*flags, *(arg for arg in args[:end] if arg not in flags), *args[end:]]


def _show_logs() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
