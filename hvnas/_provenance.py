"""What is said of a device and of an estimator beside their numbers: where these come from, how far off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hvnas import _numbers as numbers

if TYPE_CHECKING:
    from hvnas.latency import Device, DeviceInfo
    from hvnas.search.seams import DeviceLike

# What a device's file may say of its errors, the most telling first, and of which networks.
_STATED = (
    ("family_left_out", "whose family the fit has not seen"),
    ("model_left_out", "left out of the fit one at a time"),
    ("validation", "measured to validate it"),
    ("network_left_out", "left out of the fit one at a time"),
)
_PLACES = (
    ("in_gate", "inside its gate"),
    ("without_gate", "over all networks"),
    ("overall", "over all networks"),
    ("", "over all networks"),
)


def provenance(device: Device | DeviceLike) -> str:
    """One line: how the device's latencies were obtained, and how far off they are.

    A search takes devices that know nothing but latencies; of them the line says so.
    """
    info = getattr(device, "info", None)
    if info is None:
        return f"{device.name} does not say how its latencies were obtained."
    said = f"{device.name} is {method(info)}"
    for kind, whose in _STATED:
        errors = [
            f"{error:.1f} % {where}"
            for place, where in _PLACES
            if (error := _stated(device, kind, place)) is not None
        ]
        if errors:
            return f"{said}; mean error of networks {whose}: {', '.join(errors)}."
    return f"{said}; its file states no error."


def beyond_measured(device: Device | DeviceLike, name: str, *, macs: int, ms: float) -> str | None:
    """One line where the network `name` would compute faster than all that were measured; None elsewhere.

    A table is a sum of costs, and a search finds where they add up to a pace that no network kept.
    """
    kept = {
        row.network: row.values["macs"] / row.ms
        for row in getattr(device, "rows", ())
        if "macs" in row.values
    }
    fastest = max(kept, key=lambda network: kept[network], default=None)
    if fastest is None or macs / ms <= kept[fastest]:
        return None
    return (
        f"{name} would compute {macs / ms / 1e9:.2f} G MACs a millisecond on {device.name}, where no "
        f"network measured on it does more than {kept[fastest] / 1e9:.2f} ({fastest}): time it "
        "before you rely on it."
    )


def method(info: DeviceInfo) -> str:
    """How the latencies were obtained, so that nobody takes a calibrated one for measured."""
    return "measured" if info.method == "measured" else f"{info.method}, not measured"


def label(device: Device) -> str:
    """The device's name, and what its milliseconds are of where that is no single image."""
    batch = device.info.batch
    return device.name if batch == 1 else f"{device.name} (ms per image, batch {batch})"


def left_out_error(device: Any, place: str) -> float | None:
    """The mean absolute error in percent, family left out; None where the device's file states none.

    `place` is ``in_gate`` or ``without_gate``.
    """
    return _stated(device, "family_left_out", place)


def _stated(device: Any, *path: str) -> float | None:
    value: Any = getattr(device, "report", None)
    for key in (*filter(None, path), "mape"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) else None


def estimator_error(estimator: Any) -> str:
    """One line: how far the estimator is off on families that it has not seen."""
    report = getattr(estimator, "error", None)
    overall = report.get("overall") if isinstance(report, Mapping) else None
    if not isinstance(overall, Mapping):
        return "The estimator of top-1 states no error."
    mae, tau = (numbers.optional(overall.get(key), digits=2) for key in ("mae", "tau"))
    return (
        f"top-1 is estimated, not trained; mean error on {overall.get('n')} published networks whose family "
        f"the fit has not seen: {mae} points, Kendall tau {tau}."
    )
