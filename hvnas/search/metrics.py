"""Metrics of a network beside latency and accuracy: weights on disk."""

from __future__ import annotations

from dataclasses import replace

from hvnas.ops import PARAMS
from hvnas.search.seams import DeviceLike

# Of the deployed network, where batch norms are folded away.
SIZE = replace(PARAMS, name="deployed_params", fused=True)

# Bytes per weight by the first word of a device's precision; what is not named here is taken for float32.
_BYTES = {"float16": 2, "bfloat16": 2, "int8": 1}


def bytes_per_weight(device: DeviceLike) -> int:
    """Of the precision that the device's table speaks of."""
    precision = str(getattr(getattr(device, "info", None), "precision", "float32"))
    return _BYTES.get(precision.split()[0], 4)
