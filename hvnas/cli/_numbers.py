"""How numbers are written: as everywhere."""

from __future__ import annotations

from hvnas._numbers import billions, chance, interval, millions, ms, optional, percent, points

__all__ = ["billions", "chance", "interval", "millions", "ms", "optional", "percent", "points"]
