"""``hvnas report``: runs and networks as one page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hvnas._records import Column, Table
from hvnas._request import Option, Request, words_of
from hvnas.cli._request import takes
from hvnas.cli._screen import JsonOption, Screen, print_json

if TYPE_CHECKING:
    from hvnas.report import Report
    from hvnas.report.network import Network

EXAMPLE = "hvnas report runs/phone --figures figures"

_PAGE = "report.html"


@dataclass(frozen=True, kw_only=True)
class ReportRequest(Request):
    """What is asked of a report: what it is about, and where it is written."""

    sources: Annotated[
        tuple[str, ...],
        Option(
            argument=True,
            metavar="RUN|ARCH",
            help="Folders of hvnas search or train, models' names, or networks' YAML files.",
        ),
    ]
    out: Annotated[
        Path | None,
        Option(metavar="FILE.html", help=f"The page to write. Default for one run: {_PAGE} in its folder."),
    ] = None
    figures: Annotated[
        Path | None, Option(metavar="DIR", help="Write figures (PNG, SVG) and tables (CSV) there as well.")
    ] = None
    devices: Annotated[
        tuple[str, ...],
        Option(
            name="device",
            metavar="NAME|FILE",
            help="A device; may be repeated. Default: the runs', or iphone12.",
        ),
    ] = ()
    recipe: Annotated[
        str | None, Option(help="The training that top-1 of networks is estimated for. Default: the runs'.")
    ] = None
    choose: Annotated[
        str | None, Option(metavar="NAME", help="A network of the run's archs/ to show instead of its best.")
    ] = None


@takes(ReportRequest)
def run(request: ReportRequest, *, as_json: JsonOption = False) -> None:
    """Write one HTML page about runs and networks.

    The front, the search over time, the networks stage by stage beside EfficientFormer-L1, their latency by
    stage and kind of op, how far to trust the numbers, and how to redo them. The page works offline.
    """
    from hvnas.cli._screen import writing
    from hvnas.report import check_report, make_report, report_to_json, write_figures, write_report

    figures, page = request.figures, request.out or _beside_run(request.sources)
    check_report(page, figures)
    report = make_report(
        request.sources, devices=request.devices, recipe=request.recipe, choose=request.choose
    )
    command = shlex.join(["hvnas", "report", *words_of(request)])
    with writing(page):
        written = [write_report(report, page, command=command)]
    if figures is not None:
        with writing(figures):
            written += write_figures(report, figures)
    if as_json:
        print_json(report_to_json(report) | {"written": [str(path) for path in written]})
    else:
        _print(Screen(), report, written)


def _beside_run(sources: Sequence[str]) -> Path:
    """Where the page of a single run goes."""
    if len(sources) == 1 and Path(sources[0]).is_dir():
        return Path(sources[0]) / _PAGE
    raise ValueError(f"out: name the page to write, such as --out {_PAGE}; only a single run has a default")


def _print(screen: Screen, report: Report, written: list[Path]) -> None:
    from hvnas.report.tables import time_columns

    columns: list[Column[Network]] = [
        Column("network", "name"),
        *time_columns(report.devices),
        Column(">top-1", "accuracy"),
        Column(">cross-fitted", "accuracy", lambda accuracy: accuracy and accuracy.cross_fitted_text),
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
