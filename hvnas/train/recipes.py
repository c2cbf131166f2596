"""Recipes: how a network is trained, as far as an estimate depends on it, and in full where one trains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

from hvnas._files import read_yaml
from hvnas._names import unknown_name
from hvnas.train.training import Training, training_from_dict

SCHEMA = "hvnas.recipe/1"
FOLDER = Path(__file__).resolve().parent / "recipes"
FIELDS = ("schema", "epochs", "distilled", "augmentation", "source", "training")

# basic: crop and flip, colour jitter at most; policy: AutoAugment or RandAugment; modern: those together
# with mixup or cutmix, as DeiT (arXiv 2012.12877, Table 9) and all the papers of the space train.
AUGMENTATIONS = ("basic", "policy", "modern")


@dataclass(frozen=True)
class Recipe:
    """The covariates of a training recipe: schedule length, distillation, augmentation class.

    `training` holds the rest of what a training run needs; a recipe without it serves estimates only.
    """

    name: str
    epochs: float
    distilled: bool
    augmentation: str
    source: str = ""
    training: Training | None = None

    def __str__(self) -> str:
        taught = "distilled" if self.distilled else "not distilled"
        return f"{self.name} ({self.epochs:g} epochs, {self.augmentation} augmentation, {taught})"


def list_recipes() -> tuple[str, ...]:
    """Names of the recipes that ship."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def trainable_recipes() -> tuple[str, ...]:
    """Names of the shipped recipes that have a training section."""
    return tuple(name for name in list_recipes() if _shipped(name).training is not None)


def training_of(recipe: Recipe) -> Training:
    """The training section of a recipe. Raises ValueError naming those that have one."""
    if recipe.training is None:
        raise ValueError(
            f"recipe {recipe.name!r}: has no training section, it serves estimates only; "
            f"use {' or '.join(trainable_recipes())}, or a .yaml file with one"
        )
    return recipe.training


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe by name, or from a YAML file of the reader's own.

    Raises ValueError, one line, for an unknown name or a field that is missing or out of range.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        return _checked(Path(text))
    if text not in list_recipes():
        raise ValueError(unknown_name("recipe", text, list_recipes(), "the path of a .yaml file"))
    return _shipped(text)


@lru_cache(maxsize=64)
def _shipped(name: str) -> Recipe:
    """A shipped recipe, read once: estimates of every batch ask for it."""
    return _checked(FOLDER / f"{name}.yaml")


def _checked(path: Path) -> Recipe:
    data = read_yaml(path, schema=SCHEMA)
    for field in data:
        if field not in FIELDS:
            raise ValueError(f"{path}: {field}: no such field; there are {', '.join(FIELDS)}")
    epochs = _field(data, path, "epochs")
    if (
        isinstance(epochs, bool)
        or not isinstance(epochs, (int, float))
        or not isfinite(epochs)
        or epochs <= 0
    ):
        raise ValueError(f"{path}: epochs: must be a number > 0, got {epochs!r}")
    distilled = _field(data, path, "distilled")
    if not isinstance(distilled, bool):
        raise ValueError(f"{path}: distilled: must be true or false, got {distilled!r}")
    augmentation = _field(data, path, "augmentation")
    if augmentation not in AUGMENTATIONS:
        raise ValueError(
            f"{path}: augmentation: must be one of {', '.join(AUGMENTATIONS)}, got {augmentation!r}"
        )
    source = str(data.get("source", ""))
    training = training_from_dict(data["training"], where=str(path)) if "training" in data else None
    return Recipe(path.stem, float(epochs), distilled, augmentation, source, training)


def _field(data: dict[str, Any], path: Path, field: str) -> Any:
    if field not in data:
        raise ValueError(f"{path}: {field}: is missing; give it a value")
    return data[field]
