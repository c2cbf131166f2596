"""What is said of a device beside its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvnas._provenance import label, left_out_error, method, provenance

if TYPE_CHECKING:
    from hvnas.latency import LatencyEstimate

__all__ = ["estimate_to_json", "label", "left_out_error", "method", "provenance"]


def estimate_to_json(estimate: LatencyEstimate) -> dict[str, object]:
    """Milliseconds with their 5-95 % interval, and whether the network lies inside the device's gate."""
    return {
        "ms": estimate.ms,
        "low": estimate.low,
        "high": estimate.high,
        "inside": estimate.inside,
        "reasons": list(estimate.reasons),
    }
