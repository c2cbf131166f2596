"""Parameters."""

from __future__ import annotations

from hvnas.accuracy.columns import COLUMNS
from hvnas.accuracy.proxies.registry import Array, register_count

PARAMS = next(column for column in COLUMNS if column.name == "params")


@register_count("params", PARAMS)
def params(values: Array) -> Array:
    """Trainable parameters, position biases and tokens included.

    Convolution, linear and attention layers alike count by their weights. Source: none needed; it is the
    baseline that 2301.11300 finds no earlier proxy to beat consistently. Known failure: blind to
    resolution, to the order of stages, and to token mixers without weights; maximised at given MACs it
    finds poor networks. Cost: a pass over the Program, about a millisecond, no weights allocated.
    """
    return values[:, 0]
