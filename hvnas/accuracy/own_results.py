"""The reader's own results: one trained network a row.

Columns: ``arch``, the name of a model or the path of an architecture file, relative to the table; ``metric``,
a percentage; and, where the trainings differ, ``epochs``, ``distilled`` (true or false) and ``augmentation``
(basic, policy or modern), which are 300, false and modern where the column is missing.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from hvnas._files import from_cell, read_text
from hvnas.accuracy.evidence import recipe_features
from hvnas.arch import Arch, load_arch
from hvnas.train.recipes import AUGMENTATIONS

FIELDS = ("arch", "metric", "epochs", "distilled", "augmentation")


@dataclass(frozen=True)
class Result:
    """One trained network: `recipe` as numbers (see `hvnas.accuracy.evidence`), `metric` in points."""

    arch: Arch
    recipe: tuple[float, ...]
    metric: float


def read_results(path: str | Path) -> tuple[Result, ...]:
    """The results of a table, equal duplicates once.

    Raises ValueError naming file, row and column: for an unknown architecture, a percentage given as a
    fraction, and two rows that give one network under one training different results.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)))
    header = reader.fieldnames or []
    for name in ("arch", "metric"):
        if name not in header:
            raise ValueError(
                f"{path}: {name}: the column is missing; there are {', '.join(header) or 'none'}"
            )
    if unknown := [name for name in header if name not in FIELDS]:
        raise ValueError(f"{path}: {unknown[0]}: no such column; there are {', '.join(FIELDS)}")
    found: dict[tuple[str, tuple[float, ...]], tuple[int, Result]] = {}
    for number, row in enumerate(reader, start=2):
        try:
            result = _result(row, Path(path).parent)
        except ValueError as error:
            raise ValueError(f"{path}: row {number}: {error}") from None
        key = result.arch.hash, result.recipe
        first, known = found.setdefault(key, (number, result))
        if known.metric != result.metric:
            raise ValueError(
                f"{path}: row {number}: metric: {result.metric:g}, but row {first} gives the same network "
                f"under the same training {known.metric:g}; keep one, or write down how the trainings differ"
            )
    return tuple(result for _, result in found.values())


def _result(row: dict[str, str | None], folder: Path) -> Result:
    name = from_cell((row["arch"] or "").strip())
    arch = load_arch(folder / name if name.endswith((".yaml", ".yml")) else name)
    epochs = _number("epochs", row.get("epochs") or "300")
    if epochs <= 0:
        raise ValueError(f"epochs: must be > 0, got {epochs:g}")
    distilled = (row.get("distilled") or "false").strip().lower()
    if distilled not in ("true", "false"):
        raise ValueError(f"distilled: must be true or false, got {distilled!r}")
    augmentation = (row.get("augmentation") or "modern").strip()
    if augmentation not in AUGMENTATIONS:
        raise ValueError(f"augmentation: must be one of {', '.join(AUGMENTATIONS)}, got {augmentation!r}")
    recipe = tuple(recipe_features(epochs, distilled == "true", augmentation))
    return Result(arch, recipe, _metric(row["metric"] or ""))


def _metric(text: str) -> float:
    value = _number("metric", text)
    if 0.0 <= value <= 1.0:
        raise ValueError(f"metric: {value:g} is a fraction; write the percentage, {100 * value:g}")
    if not 1.0 < value < 100.0:
        raise ValueError(f"metric: must be a percentage between 1 and 100, got {value:g}")
    return value


def _number(field: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{field}: must be a number, got {text!r}") from None
    if not isfinite(value):
        raise ValueError(f"{field}: must be finite, got {text!r}")
    return value
