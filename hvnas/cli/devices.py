"""``hvnas devices``: the devices that latencies are known of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas.cli import _devices
from hvnas.cli._screen import Screen, print_json

if TYPE_CHECKING:
    from hvnas.latency import Device


def run(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False) -> None:
    """List the devices.

    Shows how their latencies were obtained, and their error.
    """
    from hvnas.latency.provenance import provenance

    devices = _devices.all_devices()
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
