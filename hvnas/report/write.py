"""A comparison as files."""

from __future__ import annotations

from pathlib import Path

from hvnas._files import write_atomic
from hvnas.latency.plots import WRITERS, check_target
from hvnas.report.compare import Comparison
from hvnas.report.facts import to_csv
from hvnas.report.figures import save_comparison

_CSV = ".csv"
# What a folder gets.
_NAMES = ("compare.html", "compare.png", "compare.csv")


def check_out(out: str | Path) -> None:
    """Raise ValueError where `out` cannot be written: another ending, or an extra that is not installed."""
    out = Path(out)
    if _is_folder(out):
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out}: is a file; name a folder, or a file ending in {_endings()}")
        for name in _NAMES:
            if Path(name).suffix in WRITERS:
                check_target(out.parent / name)
        return
    if out.suffix not in (*WRITERS, _CSV):
        raise ValueError(f"{out}: a comparison's file ends in {_endings()}; choose one of them, or a folder")
    if out.suffix in WRITERS:
        check_target(out)
    elif not out.parent.is_dir():
        raise ValueError(f"{out}: there is no folder {out.parent}; create it first")


def write_comparison(found: Comparison, out: str | Path) -> tuple[Path, ...]:
    """Write a file by its ending, or all kinds to a folder, which is made; returns the paths."""
    out = Path(out)
    check_out(out)
    paths: tuple[Path, ...] = (out,)
    if _is_folder(out):
        out.mkdir(exist_ok=True)
        paths = tuple(out / name for name in _NAMES)
    for path in paths:
        if path.suffix in WRITERS:
            save_comparison(found, path)
        else:
            write_atomic(path, to_csv(found))
    return paths


def _is_folder(out: Path) -> bool:
    return out.is_dir() or out.suffix == ""


def _endings() -> str:
    return ", ".join((*WRITERS, _CSV))
