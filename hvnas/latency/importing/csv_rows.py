"""Our own CSV: rows that say everything themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hvnas.latency.importing.reading import Reading
from hvnas.latency.measurements import ModelMeasurement, read_measurements

SUMMARY = ("ms", "statistic", "spread", "n", "protocol")


def read(path: Path) -> Sequence[Reading]:
    """Every row of the file. Raises ValueError naming file, row and field."""
    return [_reading(row) for row in read_measurements(path)]


def _reading(row: ModelMeasurement) -> Reading:
    names = [name for name in ModelMeasurement.__dataclass_fields__ if name not in SUMMARY]
    return Reading(
        ms=row.ms,
        statistic=row.statistic,
        spread=row.spread,
        n=row.n,
        protocol=row.protocol,
        stated={name: getattr(row, name) for name in names},
    )
