"""``hvnas devices``: the devices that latencies are known of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from hvnas._records import Column
from hvnas.cli._failure import one_line
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen, listing

if TYPE_CHECKING:
    from hvnas.latency import Device
    from hvnas.latency.provenance import DeviceSummary

    Listed = Device | DeviceSummary
T = TypeVar("T")

EXAMPLE = "hvnas devices"


@answers
def run() -> Answer:
    """List the devices.

    Shows how their latencies were obtained, and their error.
    """
    from hvnas.latency.provenance import label, left_out_error, provenance
    from hvnas.latency.registry import summarise_device

    devices = all_devices(summarise_device)
    columns: tuple[Column[Listed], ...] = (
        Column("device", label),
        Column("hardware", lambda device: f"{device.info.device} ({device.info.soc})"),
        Column("system", "info.os"),
        Column("method", "info.method"),
        Column(">error in gate", lambda device: left_out_error(device, "in_gate"), "{:.1f} %".format),
    )

    def below(screen: Screen) -> None:
        for device in devices:
            screen.heading(device.name)
            screen.fields([("protocol", device.info.protocol), ("source", device.info.source)])
            screen.line(provenance(device))

    return listing(columns, devices, data=_row, line=_line, below=below)


def _row(device: Listed) -> dict[str, Any]:
    return {"name": device.name, **asdict(device.info), "error": dict(device.report), "hash": device.hash}


def _line(device: Listed) -> dict[str, Any]:
    """A device for CSV; its error is the mean, in percent, inside its gate, of unseen families."""
    from hvnas.latency.provenance import left_out_error

    return {
        "name": device.name,
        **asdict(device.info),
        "error_in_gate": left_out_error(device, "in_gate"),
        "hash": device.hash,
    }


def all_devices(load: Callable[[str], T]) -> list[T]:
    """What `load` gives of the devices there are. One that does not load is told on standard error.

    Raises ValueError where none loads.
    """
    from hvnas.latency import list_devices

    devices, broken = [], []
    for name in list_devices():
        try:
            devices.append(load(name))
        except (ValueError, OSError) as error:
            broken.append(f"{name} is left out: {one_line(error)}")
    if not devices:
        raise ValueError("; ".join(broken))
    for said in broken:
        Screen(errors=True).line(said)
    return devices
