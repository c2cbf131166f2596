"""What is said of a device beside its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvnas.latency import Device, LatencyEstimate
    from hvnas.search.seams import DeviceLike


def provenance(device: Device | DeviceLike) -> str:
    """One line: how the device's latencies were obtained, and how far off they are.

    A search takes devices that know nothing but latencies; of them the line says so.
    """
    info = getattr(device, "info", None)
    if info is None:
        return f"{device.name} does not say how its latencies were obtained."
    method = info.method
    said = (
        f"{device.name} is {method}, not measured" if method != "measured" else f"{device.name} is measured"
    )
    errors = [
        f"{error:.1f} % {where}"
        for place, where in (("in_gate", "inside its gate"), ("without_gate", "over all networks"))
        if (error := left_out_error(device, place)) is not None
    ]
    if not errors:
        return f"{said}; its file states no error."
    return f"{said}; mean error of networks whose family the fit has not seen: {', '.join(errors)}."


def left_out_error(device: Any, place: str) -> float | None:
    """The mean absolute error in percent, family left out; None where the device's file states none.

    `place` is ``in_gate`` or ``without_gate``.
    """
    value: Any = getattr(device, "report", None)
    for key in ("family_left_out", place, "mape"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) else None


def estimate_to_json(estimate: LatencyEstimate) -> dict[str, object]:
    """Milliseconds with their 5-95 % interval, and whether the network lies inside the device's gate."""
    return {
        "ms": estimate.ms,
        "low": estimate.low,
        "high": estimate.high,
        "inside": estimate.inside,
        "reasons": list(estimate.reasons),
    }
