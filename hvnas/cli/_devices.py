"""What is said of a device beside its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvnas.cli._failure import one_line
from hvnas.cli._screen import Screen

if TYPE_CHECKING:
    from hvnas.latency import Device, LatencyEstimate


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
