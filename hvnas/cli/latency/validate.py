"""``hvnas latency validate``: what a device says against what is measured."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas._records import Column, Table, csv_of
from hvnas.cli._failure import Failure
from hvnas.cli._progress import Steps
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen, writing

if TYPE_CHECKING:
    from hvnas.latency import Device
    from hvnas.ops import Program
    from hvnas.space import Space

EXAMPLE = "hvnas latency validate --device my.yaml --measurements ms.csv"

TIMES = 2  # so that the noise floor is that of the same run

_COLUMNS: tuple[Column[Mapping[str, Any]], ...] = (
    Column("", "name"),
    Column(">networks", "n"),
    *(
        Column(heading, key, "{:.1f}".format)
        for heading, key in (
            (">mean", "mape"),
            (">bias", "bias"),
            (">median", "median"),
            (">p90", "p90"),
            (">±5 %", "within_5"),
            (">±10 %", "within_10"),
            (">±20 %", "within_20"),
        )
    ),
    Column(">rho", "spearman", "{:.3f}".format),
    Column(">tau", "kendall_tau", "{:.3f}".format),
)


@dataclass(frozen=True)
class _Measured:
    """Networks and their measured milliseconds.

    `noise` holds pairs of times of one network; `source` is plain data; `elsewhere` names the device that
    the times are of, where it is not the one asked about.
    """

    names: Sequence[str]
    families: Sequence[str]
    programs: Sequence[Program]
    ms: Sequence[float]
    noise: Sequence[tuple[float, float]] | None
    source: dict[str, Any]
    elsewhere: str | None = None


@answers
def run(
    device: Annotated[str, typer.Option(metavar="NAME|FILE", help="The device: see hvnas devices.")],
    archs: Annotated[
        int, typer.Option(min=2, help="How many networks to draw and measure if the device is this host.")
    ] = 40,
    space: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="The space they are drawn from. Default: that of the device's table."
        ),
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(metavar="<int>", help="Side of their images. Default: that of the device's table."),
    ] = None,
    measurements: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A CSV of measured times instead.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads to measure with; must match the table's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same networks.")] = 0,
    store: Annotated[bool, typer.Option(help="Store the report in the device's file.")] = True,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a scatter plot as .html, .png or .svg.")
    ] = None,
) -> Answer:
    """Compare a device's predictions with measured times.

    A table of this host is tested on newly drawn networks that it was not built on, each measured twice.
    Any other device needs --measurements. The report is stored in the device's file.
    """
    from hvnas.latency import load_device
    from hvnas.latency.plots import check_target

    if plot is not None:
        check_target(plot)
    loaded = load_device(device)
    if threads is not None and threads != loaded.info.threads:
        own = "no number of threads" if loaded.info.threads is None else f"threads: {loaded.info.threads}"
        raise Failure(
            f"{loaded.name} states {own}, not {threads}; choose a table measured with that many threads"
        )
    if measurements is not None:
        measured = _read(measurements, loaded)
    else:
        measured = _measure(loaded, device, archs, space=space, resolution=resolution, seed=seed)
    report, ms = _compare(loaded, measured)
    stored = _store(report, device, loaded, measured) if store else "not stored, as asked"
    if plot is not None:
        _plot(loaded, measured, ms, plot)
    rows = zip(measured.names, measured.families, ms, measured.ms, strict=True)
    models = [{"name": n, "family": f, "predicted": p, "measured": m} for n, f, p, m in rows]
    return Answer(
        text=lambda screen: _print(screen, loaded, report, stored),
        data=lambda: {"device": loaded.name, **report, "stored": stored, "models": models},
        csv=lambda: csv_of(
            (Column("part", "part"), *_COLUMNS),
            [{"part": part, **row} for part, rows in _groups(report).items() for row in rows],
        ),
    )


def _groups(report: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The errors over all networks, by family and by size."""
    shown = {"all": report["overall"], "in the gate": report.get("in_gate")}
    shown["not in its table"] = report.get("not_in_table")
    groups = {"all": shown, "family": report["by_family"], "size": report["by_size"]}
    return {
        part: [{"name": name, **found} for name, found in rows.items() if found is not None]
        for part, rows in groups.items()
    }


def _read(path: Path, device: Device) -> _Measured:
    from hvnas.latency.calibration.recalibrate import check_protocol
    from hvnas.latency.remote.measurements import read_models

    models = read_models(path)
    row = models[0].row
    try:
        check_protocol(device, row)
    except ValueError as error:
        raise Failure(f"{path}: {error}") from None
    names = ("device", "os", "runtime", "runtime_version", "compute_unit", "precision", "threads", "batch")
    return _Measured(
        names=[m.name for m in models],
        families=[m.family for m in models],
        programs=[m.program for m in models],
        ms=[m.ms for m in models],
        noise=None,
        source={"measurements": path.name, **{name: getattr(row, name) for name in names}},
        elsewhere=None if row.device.casefold() == device.info.device.casefold() else row.device,
    )


def _measure(
    device: Device, name: str, n: int, *, space: str | None, resolution: int | None, seed: int
) -> _Measured:
    """Held-out networks, each timed twice on this host; its time is the mean of both."""
    if device.info.method != "measured":
        raise Failure(
            f"{device.name} is {device.info.method}, not a table of this host; "
            "give measured times of its networks with --measurements"
        )
    from hvnas.latency.calibration.validation import (
        backend_of,
        check_host,
        device_file,
        held_out,
        known_hashes,
    )
    from hvnas.latency.measure.plan import macs_range, resolution_of
    from hvnas.latency.measure.run import time_networks
    from hvnas.latency.remote.measurements import family_of
    from hvnas.latency.tables.op_model import PARTIAL

    if PARTIAL in device.rules:
        raise Failure(f"{device.name} is not complete; run hvnas latency measure again to finish it")
    check_host(device)
    backend = backend_of(device)
    members = _members(device_file(name), space, resolution)
    archs = held_out(members, n, seed=seed, known=known_hashes(device_file(name)))
    threads = device.info.threads or 1
    with Steps("timings", TIMES * n) as steps:
        pairs = time_networks(archs, backend=backend, threads=threads, passes=TIMES, on_step=steps.at)
    drawn = {"space": members.name, "space_hash": members.hash, "seed": seed}
    drawn |= {"resolution": resolution_of(members), "macs": list(macs_range(members))}
    return _Measured(
        names=[arch.name for arch in archs],
        families=[family_of(arch) for arch in archs],
        programs=[arch.lower() for arch in archs],
        ms=[(first + second) / 2 for first, second in pairs],
        noise=[(float(first), float(second)) for first, second in pairs],
        source={"drawn": drawn, "backend": backend, "threads": threads},
    )


def _members(path: Path | None, space: str | None, resolution: int | None) -> Space:
    """The space to draw from: that asked for, else that which the table at `path` was drawn from."""
    from hvnas._files import read_yaml
    from hvnas.cli.latency.plan import space_at
    from hvnas.latency.files import SCHEMA
    from hvnas.latency.tables.op_model import read_measured
    from hvnas.space import list_spaces

    data = {} if space is not None or path is None else read_yaml(path, schema=SCHEMA)
    if path is None or "drawn" not in data:
        return space_at(space or "hybrid-mobile", resolution)
    drawn = read_measured(path, data).drawn
    if drawn.space not in list_spaces():
        raise Failure(f"{path}: drawn.space: {drawn.space} is a file of your own; name it with --space")
    return space_at(drawn.space, drawn.resolution if resolution is None else resolution)


def _compare(device: Device, measured: _Measured) -> tuple[dict[str, Any], list[float]]:
    from hvnas.latency.calibration.validation import is_in_table, report

    estimates = [device.latency(program) for program in measured.programs]
    ms = [e.ms for e in estimates]
    found = report(
        ms,
        measured.ms,
        measured.families,
        [program.macs for program in measured.programs],
        measured.noise,
        inside=[e.inside for e in estimates],
        in_table=is_in_table(device, measured.programs),
    )
    return {"date": datetime.date.today().isoformat(), "source": measured.source, **found}, ms


def _store(report: dict[str, Any], name: str, device: Device, measured: _Measured) -> str:
    """Keep the report where the device's file can be written; says what became of it."""
    from hvnas.cli._failure import one_line
    from hvnas.latency.calibration.validation import device_file, store

    if measured.elsewhere is not None:
        return f"not stored: the times are of {measured.elsewhere}, not of {device.info.device}"
    path = device_file(name)
    if path is None:
        return f"not stored: {device.name} has no file of its own"
    try:
        store(report, path)
    except OSError as error:
        return f"not stored: {one_line(error)}"
    return f"stored in {path}"


def _plot(device: Device, measured: _Measured, ms: Sequence[float], path: Path) -> None:
    from hvnas.latency.calibration.validation import save_plot
    from hvnas.latency.provenance import method

    title = f"{device.name} ({method(device.info)}): predicted and measured"
    with writing(path):
        save_plot(measured.names, ms, measured.ms, measured.families, path, title=title)


def _print(screen: Screen, device: Device, report: dict[str, Any], stored: str) -> None:
    from hvnas.latency.provenance import provenance

    screen.line(f"{device.name} against {report['networks']} measured networks", style="bold")
    screen.line()
    groups = _groups(report)
    screen.show(Table.of(_COLUMNS, groups["all"]))
    for title, part in (("By family", "family"), ("By size", "size")):
        screen.heading(title)
        screen.show(Table.of(_COLUMNS, groups[part]))
    screen.line()
    factor, noise = report["one_factor"], report["noise_floor"]
    screen.line(f"With every prediction times {factor['factor']:.3f}: mean error {factor['mape']:.1f} %.")
    if noise is not None:
        screen.line(
            f"The same network measured twice differs by {noise['mape']:.1f} % "
            f"(at most {noise['max']:.1f} %, {noise['pairs']} networks)."
        )
    if "not_in_table" in report and report["not_in_table"] is None:
        screen.line(f"Every one of these networks is in the table of {device.name}: none is held out.")
    screen.line(provenance(device))
    screen.line(f"Report {stored}.")
