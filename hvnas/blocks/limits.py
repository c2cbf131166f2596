"""The smallest and the largest value of every number that says what a network is.

One table for blocks, architecture files and space files, so that what a space holds can be loaded. Fields of
blocks stand under their own names; where one has several values, the limits are of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hvnas._names import shown

Limits = tuple[float, float]

_COUNT: Limits = (1, 65_536)
_FACTOR: Limits = (0.01, 64)

LIMITS: Mapping[str, Limits] = {
    # architectures
    "resolution": (1, 4096),
    "stages": (1, 16),
    "depth": (0, 256),
    "tokens": (1, 4096),
    # widths
    "width": _COUNT,
    "classes": (1, 1_000_000),
    "channels": (0, 65_536),
    "hidden": (0, 65_536),
    "dim": _COUNT,
    # factors of widths
    "ratios": (0.001, 64),
    "expand": (0, 64),  # 0 leaves PoolFormer's MLP out
    "expand2": _FACTOR,
    "former_expand": _FACTOR,
    "se": (0, 64),
    # attention
    "heads": (1, 1024),
    "former_heads": (1, 1024),
    "head_dim": (1, 4096),
    "key_dim": (1, 4096),
    "attn_ratio": (1, 64),
    "attn_stride": (1, 64),
    "window": (0, 4096),
    "layers": (1, 16),
    "patch": (1, 256),
    "count": (1, 4096),
    # convolutions and pooling
    "kernel": (1, 255),
    "kernels": (1, 255),
    "scales": (1, 255),
    "pool": (1, 255),
    "stride": (1, 64),
    "strides": (1, 64),
    "padding": (0, 127),
    "groups": _COUNT,
    # normalisation
    "eps": (0, 1),
    "hidden_eps": (0, 1),
    "attn_eps": (0, 1),
}
_OF_FRACTIONS = frozenset(
    {"ratios", "expand", "expand2", "former_expand", "se", "eps", "hidden_eps", "attn_eps"}
)
# Fields of blocks that other packages bring.
OTHER: Limits = (0, 1_000_000)
# Values of a field that has several, and of a list in a space.
MOST_VALUES = 256
# Blocks in all runs of a network together.
MOST_BLOCKS = 1024


def check_number(field: str, value: object, at: str, where: str) -> None:
    """Raise ValueError, naming `at` and the file `where`, for a number out of the limits of `field`.

    Limits that are whole are those of whole numbers.
    """
    least, most = LIMITS.get(field, OTHER)
    whole = isinstance(least, int) and field not in _OF_FRACTIONS
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        what = "a whole number" if whole else "a number"
        raise ValueError(f"{at}: must be {what} from {least:g} to {most:.15g}, got {shown(value)} ({where})")


def out_of_limits(name: str, value: float, least: float, most: float) -> str:
    """The sentence for a number that is beyond its limits."""
    return f"{name} must be a number from {least:g} to {most:.15g}, got {value:.15g}"


# Lists of numbers and names in space files, each complaint with field and file.
Values = tuple[Any, ...]


def read_values(data: Any, at: str, where: str) -> Values:
    """A list of plain values that differ; a list in it becomes a tuple of plain values."""
    if not isinstance(data, (list, tuple)) or not data:
        raise ValueError(f"{at}: must be a list with at least one value, got {shown(data)} ({where})")
    if len(data) > MOST_VALUES:
        raise ValueError(f"{at}: has {len(data)} values; the most are {MOST_VALUES} ({where})")
    values = tuple(tuple(v) if isinstance(v, list) else v for v in data)
    for value in values:
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, (list, dict)):
                raise ValueError(f"{at}: must hold plain values, got {shown(each)} ({where})")
    if len({repr(v) for v in values}) != len(values):
        raise ValueError(f"{at}: a value appears twice ({where})")
    return values


def read_ints(data: Any, at: str, where: str, *, field: str) -> tuple[int, ...]:
    """Whole numbers within the limits of `field`."""
    values = read_values(data, at, where)
    for value in values:
        check_number(field, value, at, where)
    return values
