"""Multiply-accumulates."""

from __future__ import annotations

from hvnas.accuracy.columns import COLUMNS
from hvnas.accuracy.proxies.registry import Array, register_count

MACS = next(column for column in COLUMNS if column.name == "macs")


@register_count("macs", MACS)
def macs(values: Array) -> Array:
    """MACs of one image: convolutions, linear layers and both products of attention.

    Source: none needed; "complexity" in AZ-NAS (2403.19232). Known failure: inside a band of equal MACs
    it says nothing. Cost: a pass over the Program, about a millisecond, no weights allocated.
    """
    return values[:, 0]
