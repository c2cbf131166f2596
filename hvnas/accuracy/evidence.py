"""The published results that the surrogate is fitted on."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvnas._files import read_text
from hvnas.accuracy.ablations import Ablation, ablation_values, load_ablations, load_theory
from hvnas.accuracy.columns import NAMES
from hvnas.accuracy.features import Array, derive
from hvnas.train.recipes import AUGMENTATIONS, Recipe

DATA = Path(__file__).resolve().parent / "data"

# What estimates know of training. Distillation and the two older augmentation classes are switches
# beside modern augmentation without a teacher; 300 epochs is the origin of the schedule. A teacher is
# whatever gives soft labels: another network, a larger member of the family, or the network's own average.
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
    ablations: NDArray[np.str_]  # the study whose offset the row shares; empty for results of their own
    top1: Array
    values: Array
    recipes: Array

    def __repr__(self) -> str:
        return f"Evidence({len(self)} published results)"

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
            self.ablations[keep],
            self.top1[keep],
            self.values[keep],
            self.recipes[keep],
        )


def load_evidence(path: str | Path = DATA / "evidence.csv", *, ablations: bool = True) -> Evidence:
    """Read an evidence table as scripts/build_evidence.py writes it, the published ablations behind it.

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
    found = Evidence(
        models,
        np.array([row[at["family"]] for row in body]),
        np.array([row[at["study"]] for row in body]),
        np.array([model.split(".")[0] for model in models]),
        np.array([row[at["origin"]] == "paper" for row in body]),
        np.full(len(body), "", dtype="<U32"),
        top1,
        values,
        recipes,
    )
    return joined(found, ablation_rows()) if ablations else found


def ablation_rows() -> Evidence:
    """The networks of ablations and of theory in the regression, one row per study, network and training."""
    values = ablation_values()
    rows: dict[tuple[str, str, float], tuple[Ablation, float]] = {}
    for pair in (*load_ablations(), *load_theory()):
        if pair.likelihood:
            rows[pair.study, pair.base, pair.epochs] = pair, pair.base_top1
            rows[pair.study, pair.variant, pair.epochs] = pair, pair.base_top1 + pair.delta
    studies = np.array([study for study, _, _ in rows])
    networks = [network for _, network, _ in rows]
    return Evidence(
        tuple(networks),
        np.array([pair.family for pair, _ in rows.values()]),
        np.array([f"ablation {study}" for study in studies]),
        np.array([network.removeprefix("timm:").split("@")[0] for network in networks]),
        np.ones(len(rows), dtype=np.bool_),
        studies,
        np.array([top1 for _, top1 in rows.values()]),
        np.array([values[network] for network in networks]),
        np.array([recipe_of(pair) for pair, _ in rows.values()]),
    )


def recipe_of(pair: Ablation) -> list[float]:
    """The training of an ablation, in the order of RECIPE_FEATURES."""
    return recipe_features(pair.epochs, pair.distilled, pair.augmentation)


def joined(first: Evidence, second: Evidence) -> Evidence:
    """The rows of both."""
    arrays = (
        np.concatenate([getattr(first, field.name), getattr(second, field.name)])
        for field in fields(Evidence)[1:]
    )
    return Evidence((*first.models, *second.models), *arrays)


def _recipe(row: Sequence[str], at: dict[str, int]) -> list[float]:
    return recipe_features(float(row[at["epochs"]]), row[at["distilled"]] == "true", row[at["augmentation"]])
