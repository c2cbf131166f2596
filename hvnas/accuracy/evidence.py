"""The published results that the surrogate is fitted on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvnas._csv import LARGEST, Row
from hvnas._files import read_csv, refusing
from hvnas.accuracy.ablations import Ablation, ablation_values, load_ablations, load_theory
from hvnas.accuracy.columns import NAMES
from hvnas.accuracy.features import Array, derive
from hvnas.train.recipes import AUGMENTATIONS, MOST_EPOCHS, Recipe

DATA = Path(__file__).resolve().parent / "data"

# What estimates know of training. Distillation and the two older augmentation classes are switches
# beside modern augmentation without a teacher; 300 epochs is the origin of the schedule. A teacher is
# whatever gives soft labels: another network, a larger member of the family, or the network's own average.
_COLUMNS = ("model", "family", "study", "top1", "epochs", "distilled", "augmentation", "origin")
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

    Raises ValueError, one line, naming the file where columns are missing or a value is no number.
    """
    with refusing(path):
        found = _table(path)
    return joined(found, ablation_rows()) if ablations else found


def _table(path: str | Path) -> Evidence:
    wanted = [f"x.{name}" for name in NAMES]
    rows = list(read_csv(path, (*_COLUMNS, *wanted), optional=None))
    values = np.array([[row.cells[name] for name in wanted] for row in rows], dtype=np.float64)
    # A network without an op that a maximum is over has -inf there.
    if np.isnan(values).any() or (values > LARGEST).any():
        raise ValueError("values: must be numbers; run scripts/build_evidence.py")
    models = tuple(row.text("model") for row in rows)
    return Evidence(
        models,
        np.array([row.cells["family"] for row in rows]),
        np.array([row.cells["study"] for row in rows]),
        np.array([model.split(".")[0] for model in models]),
        np.array([row.cells["origin"] == "paper" for row in rows]),
        np.full(len(rows), "", dtype="<U32"),
        np.array([_top1(row) for row in rows]),
        values,
        np.array([_recipe(row) for row in rows]),
    )


def _top1(row: Row) -> float:
    top1 = row.number_of("top1")
    if not 1.0 < top1 < 100.0:
        raise row.refusal("top1", f"must be a percentage between 1 and 100, got {top1:g}")
    return top1


def _recipe(row: Row) -> list[float]:
    return recipe_features(
        row.number_of("epochs", above=0, most=MOST_EPOCHS),
        row.cells["distilled"] == "true",
        row.one_of("augmentation", AUGMENTATIONS),
    )


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
