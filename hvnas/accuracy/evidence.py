"""The published results that the surrogate is fitted on."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvnas._files import read_text
from hvnas.accuracy.columns import NAMES
from hvnas.accuracy.features import Array, derive
from hvnas.train.recipes import AUGMENTATIONS, Recipe

DATA = Path(__file__).resolve().parent / "data"

# What estimates know of training. Distillation and the two older augmentation classes are switches
# beside modern augmentation without a teacher; 300 epochs is the origin of the schedule.
RECIPE_FEATURES: tuple[str, ...] = ("log_epochs", "distilled", "basic", "policy")


def recipe_features(epochs: float, distilled: bool, augmentation: str) -> list[float]:
    """A recipe as numbers, in the order of RECIPE_FEATURES."""
    assert augmentation in AUGMENTATIONS, augmentation
    return [
        log(epochs / 300.0),
        float(distilled),
        float(augmentation == "basic"),
        float(augmentation == "policy"),
    ]


def covariates(recipe: Recipe) -> list[float]:
    """The covariates of a recipe, in the order of RECIPE_FEATURES."""
    return recipe_features(recipe.epochs, recipe.distilled, recipe.augmentation)


@dataclass(frozen=True)
class Evidence:
    """One row per published result; `values` are the columns of `hvnas.accuracy.columns`."""

    models: tuple[str, ...]
    families: NDArray[np.str_]
    studies: NDArray[np.str_]
    networks: NDArray[np.str_]
    papers: NDArray[np.bool_]  # from a paper's table instead of timm's results
    top1: Array
    values: Array
    recipes: Array

    def __len__(self) -> int:
        return len(self.models)

    @cached_property
    def features(self) -> Array:
        """Features of network and recipe, side by side. Shape [n, features]."""
        return np.hstack([derive(self.values), self.recipes])

    def where(self, keep: NDArray[np.bool_]) -> Evidence:
        """The rows that `keep` holds for."""
        return Evidence(
            tuple(m for m, k in zip(self.models, keep, strict=True) if k),
            self.families[keep],
            self.studies[keep],
            self.networks[keep],
            self.papers[keep],
            self.top1[keep],
            self.values[keep],
            self.recipes[keep],
        )


def load_evidence(path: str | Path = DATA / "evidence.csv") -> Evidence:
    """Read an evidence table as scripts/build_evidence.py writes it.

    Raises ValueError naming the file where columns are missing or a value is no number.
    """
    rows = list(csv.reader(io.StringIO(read_text(path))))
    header = rows[0] if rows else []
    wanted = [f"x.{name}" for name in NAMES]
    if missing := sorted({*wanted, "model", "family", "study", "top1", "epochs"} - set(header)):
        raise ValueError(f"{path}: {missing[0]}: the column is missing; run scripts/build_evidence.py")
    at = {name: i for i, name in enumerate(header)}
    body = rows[1:]
    try:
        first = at[wanted[0]]
        assert header[first : first + len(wanted)] == wanted, "columns stand together, in order"
        values = np.array([row[first : first + len(wanted)] for row in body], dtype=np.float64)
        top1 = np.array([row[at["top1"]] for row in body], dtype=np.float64)
        recipes = np.array([_recipe(row, at) for row in body])
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: {error}; run scripts/build_evidence.py") from None
    if not ((top1 > 1.0) & (top1 < 100.0)).all():
        raise ValueError(f"{path}: top1: must be percentages between 1 and 100")
    models = tuple(row[at["model"]] for row in body)
    return Evidence(
        models,
        np.array([row[at["family"]] for row in body]),
        np.array([row[at["study"]] for row in body]),
        np.array([model.split(".")[0] for model in models]),
        np.array([row[at["origin"]] == "paper" for row in body]),
        top1,
        values,
        recipes,
    )


def _recipe(row: Sequence[str], at: dict[str, int]) -> list[float]:
    return recipe_features(float(row[at["epochs"]]), row[at["distilled"]] == "true", row[at["augmentation"]])
