"""``hvnas devices``: the devices that latencies are known of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas.cli._failure import one_line
from hvnas.cli._screen import Screen, print_json

if TYPE_CHECKING:
    from hvnas.latency import Device, LatencyEstimate


def run(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False) -> None:
    """List the devices.

    Shows how their latencies were obtained, and their error.
    """
    from hvnas.latency.provenance import provenance

    devices = all_devices()
    if as_json:
        print_json([_row(device) for device in devices])
        return
    screen = Screen()
    screen.table(("device", "hardware", "system", "method", ">error in gate"), map(_cells, devices))
    for device in devices:
        screen.heading(device.name)
        screen.fields([("protocol", device.info.protocol), ("source", device.info.source)])
        screen.line(provenance(device))


def _cells(device: Device) -> tuple[object, ...]:
    from hvnas.latency.provenance import label, left_out_error

    info = device.info
    error = left_out_error(device, "in_gate")
    shown = None if error is None else f"{error:.1f} %"
    return label(device), f"{info.device} ({info.soc})", info.os, info.method, shown


def _row(device: Device) -> dict[str, Any]:
    from dataclasses import asdict

    return {"name": device.name, **asdict(device.info), "error": dict(device.report), "hash": device.hash}


def all_devices() -> list[Device]:
    """The devices there are. One that does not load is told on standard error and left out.

    Raises ValueError where none loads.
    """
    from hvnas.latency import list_devices, load_device

    devices, broken = [], []
    for name in list_devices():
        try:
            devices.append(load_device(name))
        except (ValueError, OSError) as error:
            broken.append(f"{name} is left out: {one_line(error)}")
    if not devices:
        raise ValueError("; ".join(broken))
    for said in broken:
        Screen(errors=True).line(said)
    return devices


def estimate_to_json(estimate: LatencyEstimate) -> dict[str, object]:
    """Milliseconds with their 5-95 % interval, and whether the network lies inside the device's gate."""
    return {
        "ms": estimate.ms,
        "low": estimate.low,
        "high": estimate.high,
        "inside": estimate.inside,
        "reasons": list(estimate.reasons),
    }
