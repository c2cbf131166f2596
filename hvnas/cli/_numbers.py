"""How numbers are written: as everywhere."""

from __future__ import annotations

from hvnas._numbers import (
    accuracy,
    billions,
    chance,
    interval,
    millions,
    ms,
    optional,
    percent,
    points,
    seconds,
    took,
)

__all__ = [
    "accuracy",
    "billions",
    "chance",
    "interval",
    "millions",
    "ms",
    "optional",
    "percent",
    "points",
    "seconds",
    "took",
]
