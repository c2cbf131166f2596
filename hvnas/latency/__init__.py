"""Latency on named devices: load_device(name).latency(program)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hvnas._lazy import LazyPackage

if TYPE_CHECKING:
    from hvnas.latency.columns import list_columns, register_column
    from hvnas.latency.device import (
        Breakdown,
        Device,
        LatencyArrays,
        LatencyDevice,
        LatencyEstimate,
        Rule,
    )
    from hvnas.latency.model import LatencyModel, LinearModel, Term
    from hvnas.latency.provenance import DeviceInfo
    from hvnas.latency.registry import list_devices, load_device, register_device
    from hvnas.latency.rows import Measurement
    from hvnas.latency.scores import StudentT

# Who lists devices reads no more than what is said of them.
_HOMES = {
    "Breakdown": "hvnas.latency.device",
    "Device": "hvnas.latency.device",
    "DeviceInfo": "hvnas.latency.provenance",
    "LatencyArrays": "hvnas.latency.device",
    "LatencyDevice": "hvnas.latency.device",
    "LatencyEstimate": "hvnas.latency.device",
    "LatencyModel": "hvnas.latency.model",
    "LinearModel": "hvnas.latency.model",
    "Measurement": "hvnas.latency.rows",
    "Rule": "hvnas.latency.device",
    "StudentT": "hvnas.latency.scores",
    "Term": "hvnas.latency.model",
    "list_columns": "hvnas.latency.columns",
    "list_devices": "hvnas.latency.registry",
    "load_device": "hvnas.latency.registry",
    "register_column": "hvnas.latency.columns",
    "register_device": "hvnas.latency.registry",
}

__all__ = [
    "Breakdown",
    "Device",
    "DeviceInfo",
    "LatencyArrays",
    "LatencyDevice",
    "LatencyEstimate",
    "LatencyModel",
    "LinearModel",
    "Measurement",
    "Rule",
    "StudentT",
    "Term",
    "list_columns",
    "list_devices",
    "load_device",
    "register_column",
    "register_device",
]

sys.modules[__name__].__class__ = LazyPackage
