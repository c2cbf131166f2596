"""Lists of numbers and names in space files: read and checked, each complaint with field and file."""

from __future__ import annotations

from typing import Any

from hvnas._names import shown
from hvnas.blocks.limits import MOST_VALUES, check_number

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
