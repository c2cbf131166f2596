"""The reader's own results: one trained network a row.

Columns: ``arch``, the name of a model or the path of an architecture file, relative to the table; ``metric``,
a percentage; and, where the trainings differ, ``epochs``, ``distilled`` (true or false) and ``augmentation``
(basic, policy or modern), which are 300, false and modern where the column is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hvnas._csv import Row
from hvnas._files import read_csv, refusing
from hvnas._validation import shown
from hvnas.accuracy.evidence import recipe_features
from hvnas.arch import Arch, load_arch
from hvnas.train.recipes import AUGMENTATIONS, MOST_EPOCHS

FIELDS = ("arch", "metric", "epochs", "distilled", "augmentation")
_DEFAULTS = {"epochs": "300", "distilled": "false", "augmentation": "modern"}


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
    with refusing(path):
        return _distinct(read_csv(path, FIELDS[:2], optional=FIELDS[2:]), Path(path).parent)


def _distinct(rows: Iterable[Row], folder: Path) -> tuple[Result, ...]:
    found: dict[tuple[str, tuple[float, ...]], tuple[int, Result]] = {}
    for row in rows:
        result = _result(row, folder)
        key = result.arch.hash, result.recipe
        first, known = found.setdefault(key, (row.number, result))
        if known.metric != result.metric:
            raise row.refusal(
                "metric",
                f"{result.metric:g}, but row {first} gives the same network under the same training "
                f"{known.metric:g}; keep one, or write down how the trainings differ",
            )
    return tuple(result for _, result in found.values())


def _result(row: Row, folder: Path) -> Result:
    name = row.text("arch")
    try:
        arch = load_arch(folder / name if name.endswith((".yaml", ".yml")) else name)
    except ValueError as error:
        raise row.refusal("arch", str(error)) from None
    told = row._replace(cells=_DEFAULTS | {column: cell for column, cell in row.cells.items() if cell})
    epochs = told.number_of("epochs", above=0, most=MOST_EPOCHS)
    distilled = told.cells["distilled"].lower()
    if distilled not in ("true", "false"):
        raise row.refusal("distilled", f"must be true or false, got {shown(distilled)}")
    augmentation = told.one_of("augmentation", AUGMENTATIONS)
    recipe = tuple(recipe_features(epochs, distilled == "true", augmentation))
    return Result(arch, recipe, _metric(row))


def _metric(row: Row) -> float:
    value = row.number_of("metric")
    if 0.0 <= value <= 1.0:
        raise row.refusal("metric", f"{value:g} is a fraction; write the percentage, {100 * value:g}")
    if not 1.0 < value < 100.0:
        raise row.refusal("metric", f"must be a percentage between 1 and 100, got {value:g}")
    return value
