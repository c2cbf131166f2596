"""Activations."""

from __future__ import annotations

from hvnas.accuracy.columns import COLUMNS
from hvnas.accuracy.proxies.registry import Array, register_count

ACTS = next(column for column in COLUMNS if column.name == "acts")


@register_count("acts", ACTS)
def acts(values: Array) -> Array:
    """Elements that convolutions, linear layers and attention products write for one image.

    Attention maps (queries by keys, every head) are included, as in timm's ``macts``; norms, activation
    functions and pooling write nothing that counts. Source: activations as a measure of a network's
    size, 2003.13678 (section 3.4, for convolutions). Known failure: grows with resolution and with
    attention on fine maps whether or not they help. Cost: a pass over the Program, about a
    millisecond, no weights allocated.
    """
    return values[:, 0]
