"""``hvnas devices``: the devices that latencies are known of."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hvnas._records import Column
from hvnas.cli._failure import one_line
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen, listing

if TYPE_CHECKING:
    from hvnas.latency import Device
    from hvnas.latency.provenance import DeviceSummary

    Listed = Device | DeviceSummary
T = TypeVar("T")

EXAMPLE = "hvnas devices iphone12"
# What a calibrated device's file may state beside the error that its line has, and how it is called.
FURTHER = {
    "family_left_out_choice_of_terms_included": "also the choice of terms",
    "family_left_out_choice_of_terms_and_form_included": "also the choice of terms and of the form",
    "family_left_out_macs_alone": "MACs alone",
}


@answers
def run(
    device: Annotated[
        str | None, typer.Argument(metavar="NAME|FILE", help="Only this one.", show_default=False)
    ] = None,
) -> Answer:
    """List the devices by the vendor of their chip, or show one.

    Shows how their latencies were obtained, by which protocol and when, and their error.
    """
    from hvnas.latency.registry import summarise_device

    if device is not None:
        (one,) = shown = [summarise_device(device)]
        return replace(listing((), shown, data=_row, line=_line), text=lambda screen: _show(screen, one))
    devices = sorted(all_devices(summarise_device), key=_place)

    def below(screen: Screen) -> None:
        for each in devices:
            screen.heading(each.name)
            _details(screen, each)

    return listing(_columns(), devices, data=_row, line=_line, below=below)


def _columns() -> tuple[Column[Listed], ...]:
    from hvnas.latency.provenance import label, left_out_error

    return (
        Column("vendor", "info.chip_vendor"),
        Column("device", label),
        Column("hardware", lambda device: f"{device.info.device} ({device.info.soc})"),
        Column("method", "info.method"),
        Column(">error in gate", lambda device: left_out_error(device, "in_gate"), "{:.1f} %".format),
        Column(">all networks", lambda device: left_out_error(device, "all_networks"), "{:.1f} %".format),
        Column("runtime", lambda device: f"{device.info.runtime_version}, {device.info.os}"),
        Column("measured until", lambda device: age(device, datetime.date.today())),
    )


def _place(device: Listed) -> tuple[bool, str, str]:
    vendor = device.info.chip_vendor
    return vendor == "other", vendor.lower(), device.name


def age(device: Listed, today: datetime.date) -> str | None:
    """The last month that a device was measured in, and how long before `today` that is."""
    last = device.info.measured_until
    if last is None:
        return None
    months = max(0, 12 * (today.year - last.year) + today.month - last.month)
    span = f"{months} months" if months < 24 else f"{months // 12} years"
    return f"{last:%Y-%m} ({'this month' if not months else f'{span} ago'})"


def _show(screen: Screen, device: Listed) -> None:
    """One device: what the list has in columns, line by line."""
    screen.line(device.name, style="bold")
    cells = [(column.heading.removeprefix(">"), column.cell(device)) for column in _columns()]
    _details(screen, device, before=[(name, cell) for name, cell in cells if cell != device.name])


def _details(screen: Screen, device: Listed, *, before: Sequence[tuple[str, object]] = ()) -> None:
    from hvnas.latency.provenance import provenance, stated_error

    screen.fields([*before, ("protocol", device.info.protocol), ("source", device.info.source)], prose=True)
    screen.prose(provenance(device))
    further = []
    for key, called in FURTHER.items():
        inside, everywhere = (stated_error(device, key, place) for place in ("in_gate", "all_networks"))
        if inside is not None and everywhere is not None:
            further.append(f"{called} {inside:.1f} % and {everywhere:.1f} %")
    if further:
        screen.prose(f"Mean error in the gate and over all networks, family left out, {'; '.join(further)}.")


def _row(device: Listed) -> dict[str, Any]:
    return {"name": device.name, **_info(device), "error": dict(device.report), "hash": device.hash}


def _line(device: Listed) -> dict[str, Any]:
    """A device for CSV; its error is the mean, in percent, inside its gate, of unseen families."""
    from hvnas.latency.provenance import left_out_error

    error = left_out_error(device, "in_gate")
    return {"name": device.name, **_info(device), "error_in_gate": error, "hash": device.hash}


def _info(device: Listed) -> dict[str, Any]:
    return asdict(device.info) | {"vendor": device.info.chip_vendor}


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
