"""``hvnas latency predict``: what a network takes on devices, and where the milliseconds go."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas import _numbers as numbers
from hvnas._records import csv_text
from hvnas.cli._failure import Failure
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen, writing

if TYPE_CHECKING:
    from hvnas.latency import Breakdown, Device, LatencyEstimate
    from hvnas.ops import Program

EXAMPLE = "hvnas latency predict --device iphone12 --arch efficientformer_l1"

_BAR = 30
_FIXED = "fixed, once per network"


@answers
def run(
    device: Annotated[list[str], typer.Option(metavar="NAME|FILE", help="A device; repeat it for several.")],
    arch: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="A model's name, or a network's YAML file.")
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            metavar="PKG.MOD:FACTORY",
            help="A function without arguments that makes a torch module; the current folder is searched.",
        ),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Image side in pixels. Default: the network's own, if it has one.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the breakdown as .html, .png or .svg.")
    ] = None,
) -> Answer:
    """Predict the latency of a network on devices.

    Shows where the milliseconds go, by stage and by kind of op. Works for any torch module.
    """
    from hvnas.latency import load_device

    if (arch is None) == (module is None):
        raise Failure("give the network as either --arch or --module")
    if plot is not None:
        from hvnas.latency.plots import check_target

        check_target(plot)
    devices = [load_device(name) for name in dict.fromkeys(device)]
    name, program = _program(arch, module, resolution)
    estimates = [d.latency(program) for d in devices]
    if plot is not None:
        _plot(name, devices, estimates, plot)
    return Answer(
        text=lambda screen: _print(screen, name, program, devices, estimates),
        data=lambda: _facts(name, program, devices, estimates),
        csv=lambda: csv_text(
            {"network": name, "device": d.name, "by": by, "part": part, "ms": ms}
            for d, e in zip(devices, estimates, strict=True)
            for by, parts in _breakdowns(e.breakdown)
            for part, ms in parts
        ),
    )


def _program(arch: str | None, module: str | None, resolution: int | None) -> tuple[str, Program]:
    if module is not None:
        from hvnas.ops.factory import module_program

        return module, module_program(module, resolution=resolution)
    from hvnas.arch import load_arch

    network = load_arch(str(arch))
    if resolution is not None:
        from hvnas.ops.factory import check_resolution

        check_resolution(resolution)
        network = network.with_(resolution=resolution)
    return network.name, network.lower()


def _facts(
    name: str, program: Program, devices: list[Device], estimates: list[LatencyEstimate]
) -> dict[str, Any]:
    from hvnas.latency.provenance import looked_up, provenance

    found = [looked_up(device, program) for device in devices]
    return {
        "name": name,
        "resolution": program.resolution,
        "params": program.params,
        "macs": program.macs,
        "latency": {
            d.name: {
                **e.to_json(),
                "method": d.info.method,
                "batch": d.info.batch,
                "said": provenance(d),
                "look_up": None if row is None else dataclasses.asdict(row),
                "breakdown": {
                    "fixed": e.breakdown.fixed,
                    "stages": dict(e.breakdown.stages),
                    "kinds": dict(e.breakdown.kinds),
                },
            }
            for d, e, row in zip(devices, estimates, found, strict=True)
        },
    }


def _print(
    screen: Screen, name: str, program: Program, devices: list[Device], estimates: list[LatencyEstimate]
) -> None:
    screen.line(name, style="bold")
    screen.fields(
        [
            ("resolution", f"{program.resolution}×{program.resolution}"),
            ("params", f"{program.params:,}"),
            ("MACs", f"{program.macs:,}"),
        ]
    )
    for device, estimate in zip(devices, estimates, strict=True):
        _print_device(screen, device, estimate, program)


def _print_device(screen: Screen, device: Device, estimate: LatencyEstimate, program: Program) -> None:
    from hvnas.latency.provenance import looked_up, method, provenance

    info, ms = device.info, estimate.ms
    unit = "ms" if info.batch == 1 else "ms per image"
    screen.heading(f"{device.name}: {numbers.ms(ms)} {unit} at batch {info.batch}, {method(info)}")
    gate = "inside" if estimate.inside else "outside: " + "; ".join(estimate.reasons)
    fields = [("5–95 %", f"{numbers.interval(estimate.low, estimate.high)} ms"), ("gate", gate)]
    if (row := looked_up(device, program)) is not None:
        fields.insert(0, ("look-up", f"{numbers.ms(row.ms)} ms {row.said}, as {row.network}"))
    screen.fields(fields)
    for title, parts in _breakdowns(estimate.breakdown):
        screen.line()
        screen.table(
            (title, ">ms", ">share", ""),
            [
                (part, numbers.ms(value), numbers.percent(value / ms), _bar(value / ms))
                for part, value in parts
            ],
        )
    screen.line()
    screen.line(provenance(device))


def _breakdowns(breakdown: Breakdown) -> list[tuple[str, list[tuple[str, float]]]]:
    """By stage in order, by kind from the largest; each sums to the whole."""
    kinds = {kind: value for kind, value in breakdown.kinds.items() if value > 0}
    by_size = sorted(kinds.items(), key=lambda pair: -pair[1])
    fixed = [(_FIXED, breakdown.fixed)]
    return [("stage", [*fixed, *breakdown.stages.items()]), ("kind of op", [*fixed, *by_size])]


def _bar(share: float) -> str:
    """Eighths of a block, `_BAR` blocks for the whole."""
    eighths = round(8 * _BAR * share)
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")


def _plot(name: str, devices: list[Device], estimates: list[LatencyEstimate], path: Path) -> None:
    from hvnas.latency.plots import Bar, save_bars
    from hvnas.latency.provenance import method

    bars = [
        Bar(f"by {title}", f"{d.name}, {method(d.info)}", dict(parts))
        for d, e in zip(devices, estimates, strict=True)
        for title, parts in _breakdowns(e.breakdown)
    ]
    with writing(path):
        save_bars(bars, path, title=f"{name}: where the milliseconds go")
