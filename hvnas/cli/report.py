"""``hvnas report``: runs and networks as one page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvnas._records import Column, Table
from hvnas.cli._screen import JsonOption, Screen, print_json

if TYPE_CHECKING:
    from hvnas.report import Report
    from hvnas.report.network import Network

_PAGE = "report.html"


def run(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|ARCH...",
            help="Folders of hvnas search or train, models' names, or networks' YAML files.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help=f"The page to write. Default for one run: {_PAGE} in its folder."
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write figures (PNG, SVG) and tables (CSV) there as well."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE", help="A device; repeat for several. Default: the runs', or iphone12."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="The training that top-1 of networks is estimated for. Default: the runs'."),
    ] = None,
    choose: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A network of the run's archs/ to show instead of its best."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page about runs and networks.

    The front, the search over time, the networks stage by stage beside EfficientFormer-L1, their latency by
    stage and kind of op, how far to trust the numbers, and how to redo them. The page works offline.
    """
    from hvnas.cli._screen import writing
    from hvnas.report import (
        check_report,
        make_report,
        report_to_json,
        write_figures,
        write_report,
    )

    page = out or _beside_run(sources)
    check_report(page, figures)
    told = make_report(sources, devices=device or (), recipe=recipe, choose=choose)
    command = _command(sources, out, figures, device or [], recipe, choose)
    with writing(page):
        written = [write_report(told, page, command=command)]
    if figures is not None:
        with writing(figures):
            written += write_figures(told, figures)
    if as_json:
        print_json(report_to_json(told) | {"written": [str(path) for path in written]})
    else:
        _print(Screen(), told, written)


def _beside_run(sources: list[str]) -> Path:
    """Where the page of a single run goes."""
    if len(sources) == 1 and Path(sources[0]).is_dir():
        return Path(sources[0]) / _PAGE
    raise ValueError(f"out: name the page to write, such as --out {_PAGE}; only a single run has a default")


def _command(
    sources: list[str],
    out: Path | None,
    figures: Path | None,
    devices: list[str],
    recipe: str | None,
    choose: str | None,
) -> str:
    """The line that makes the page again."""
    words = ["hvnas", "report", *sources]
    pairs = [("--out", out), ("--figures", figures), *(("--device", name) for name in devices)]
    for option, value in (*pairs, ("--recipe", recipe), ("--choose", choose)):
        if value is not None:
            words += [option, str(value)]
    return shlex.join(words)


def _print(screen: Screen, report: Report, written: list[Path]) -> None:
    from hvnas.report.tables import time_columns

    columns: list[Column[Network]] = [
        Column("network", "name"),
        *time_columns(report.devices),
        Column(">top-1", "accuracy"),
        Column("from", "run"),
    ]
    screen.show(Table.of(columns, report.side_by_side))
    screen.line()
    for network in report.side_by_side:
        if network.trained is not None:
            screen.line(f"{network.name} was trained: {network.trained}.")
    for line in (*report.trust, *(f"Note: {note}." for note in report.notes)):
        screen.line(line)
    screen.line("Written: " + ", ".join(map(str, written)))
