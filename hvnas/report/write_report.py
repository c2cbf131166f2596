"""A report, or a comparison, as files: the page, and its figures and tables in a folder."""

from __future__ import annotations

import shlex
from pathlib import Path

from hvnas._files import check_parent, write_atomic
from hvnas._numbers import clean
from hvnas.latency.plots import WRITERS, Bar, check_folder, check_target, save_bars
from hvnas.latency.provenance import method
from hvnas.report.compare import Comparison
from hvnas.report.facts import csv_files, to_csv
from hvnas.report.figures import save_comparison
from hvnas.report.network import by_kind, by_stage, draw_network
from hvnas.report.page import check_page, chosen_members, render_comparison, render_page
from hvnas.report.panels import front_panels, history_panels
from hvnas.report.report import Report

_DRAWN = (".png", ".svg")

_CSV, _PAGE = ".csv", ".html"
# What a folder gets.
_NAMES = ("compare.html", "compare.png", "compare.csv")


def check_report(out: str | Path, figures: str | Path | None = None) -> None:
    """Raise ValueError where the page or a folder of figures cannot be written: before any work."""
    check_page(out)
    if figures is not None:
        check_folder(Path(figures), *(f"figure{suffix}" for suffix in _DRAWN))


def write_report(report: Report, out: str | Path, *, command: str) -> Path:
    """Write the page in one step. Raises ValueError as `check_report`."""
    check_page(out)
    write_atomic(out, render_page(report, command=command))
    return Path(out)


def write_figures(report: Report, folder: str | Path) -> tuple[Path, ...]:
    """Write figures as PNG and SVG, drawings as SVG and tables as CSV to `folder`, which is made.

    No name of a network or a run becomes part of a file's name.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    written = []
    found = report.comparison
    # One objective alone has no front, and a run may have no history.
    if found is not None and (front_panels(found) or history_panels(found)):
        name = "front" if front_panels(found) else "history"
        for suffix in _DRAWN:
            written.append(folder / f"{name}{suffix}")
            save_comparison(found, written[-1], chosen=chosen_members(report))
    for i, device in enumerate(report.devices, start=1):
        title = clean(f"Latency on {device.name}, {method(device.info)}")
        for suffix in _DRAWN:
            written.append(folder / f"latency-{i}{suffix}")
            save_bars(_bars(report, device.name), written[-1], title=title)
    first = report.devices[0].name if report.devices else None
    for i, network in enumerate(report.side_by_side, start=1):
        written.append(folder / f"network-{i}.svg")
        write_atomic(written[-1], draw_network(network, device=first, standalone=True))
    for name, text in csv_files(report).items():
        written.append(folder / name)
        write_atomic(written[-1], text)
    return tuple(written)


def _bars(report: Report, device: str) -> list[Bar]:
    return [
        Bar(f"by {what}", clean(network.name), dict(parts(network.latency[device])))
        for what, parts in (("stage", by_stage), ("kind of op", by_kind))
        for network in report.side_by_side
    ]


def check_out(out: str | Path) -> None:
    """Raise ValueError where `out` cannot be written: another ending, or an extra that is not installed."""
    out = Path(out)
    if _is_folder(out):
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out}: is a file; name a folder, or a file ending in {_endings()}")
        for name in _NAMES:
            _check_file(out.parent / name)
        return
    if out.suffix not in (*WRITERS, _CSV):
        raise ValueError(f"{out}: a comparison's file ends in {_endings()}; choose one of them, or a folder")
    _check_file(out)


def _check_file(path: Path) -> None:
    if path.suffix == _PAGE:
        check_page(path)
    elif path.suffix in WRITERS:
        check_target(path)
    else:
        check_parent(path)


def write_comparison(comparison: Comparison, out: str | Path) -> tuple[Path, ...]:
    """Write a file by its ending, or all kinds to a folder, which is made; returns the paths."""
    out = Path(out)
    check_out(out)
    paths: tuple[Path, ...] = (out,)
    if _is_folder(out):
        out.mkdir(exist_ok=True)
        paths = tuple(out / name for name in _NAMES)
    for path in paths:
        if path.suffix == _PAGE:
            folders = [str(run.folder) for run in comparison.runs]
            command = shlex.join(["hvnas", "compare", *folders, "--out", str(out)])
            write_atomic(path, render_comparison(comparison, command=command))
        elif path.suffix in WRITERS:
            save_comparison(comparison, path)
        else:
            write_atomic(path, to_csv(comparison))
    return paths


def _is_folder(out: Path) -> bool:
    return out.is_dir() or out.suffix == ""


def _endings() -> str:
    return ", ".join((*WRITERS, _CSV))
