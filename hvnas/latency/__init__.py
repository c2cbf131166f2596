"""Latency on named devices: load_device(name).latency(program)."""

from hvnas.latency.columns import list_columns, register_column
from hvnas.latency.device import (
    Breakdown,
    Device,
    DeviceInfo,
    LatencyArrays,
    LatencyDevice,
    LatencyEstimate,
    Rule,
    StudentT,
)
from hvnas.latency.model import LatencyModel, LinearModel, Term
from hvnas.latency.registry import list_devices, load_device, register_device
from hvnas.latency.rows import Measurement

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
