"""Recipes: how a network is trained, as far as an estimate depends on it, and in full where one trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from hvnas._files import read_yaml, refusing
from hvnas._names import shown, unknown_name
from hvnas.arch import Arch
from hvnas.train.settings import Training, training_from_dict

SCHEMA = "hvnas.recipe/1"
FOLDER = Path(__file__).resolve().parent / "recipes"
FIELDS = ("schema", "epochs", "distilled", "augmentation", "source", "training")

# basic: crop and flip, colour jitter at most; policy: AutoAugment or RandAugment; modern: those together
# with mixup or cutmix, as DeiT (arXiv 2012.12877, Table 9) and all the papers of the space train.
AugmentationClass = Literal["basic", "policy", "modern"]
AUGMENTATIONS: tuple[AugmentationClass, ...] = get_args(AugmentationClass)
MOST_EPOCHS = 10**6


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
            f"use {_listed(trainable_recipes())}, or a .yaml file with one"
        )
    return recipe.training


def with_batch(recipe: Recipe, batch: int) -> Recipe:
    """`recipe` for batches of another size, the learning rate in proportion (1706.02677, section 2.1)."""
    training = training_of(recipe)
    scale = batch / training.batch
    optimizer = replace(training.optimizer, lr=training.optimizer.lr * scale)
    return replace(recipe, training=replace(training, batch=batch, optimizer=optimizer))


def _listed(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe by name, or from a YAML file of the reader's own.

    Raises ValueError, one line, for an unknown name or a field that is missing or out of range.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        return _checked(Path(text))
    return _shipped(text)


def found_recipe(arch: Arch, source: str | Path) -> str | None:
    """Return the recipe that the search assumed which found `arch`, so that its numbers appear again.

    None where its ``found:`` names none. Raises ValueError naming `source`, what `arch` was read from, for
    one that is not known.
    """
    recipe = (arch.found or {}).get("recipe")
    if not isinstance(recipe, str):
        return None
    with refusing(source):
        load_recipe(recipe)
    return recipe


@lru_cache(maxsize=64)
def _shipped(name: str) -> Recipe:
    """A shipped recipe, read once: estimates of every batch ask for it."""
    if name not in list_recipes():
        raise ValueError(unknown_name("recipe", name, list_recipes(), "the path of a .yaml file"))
    return _checked(FOLDER / f"{name}.yaml")


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain data, the name included, for a file that keeps a recipe as it was."""
    data = {"schema": SCHEMA, **asdict(recipe)}
    return data if recipe.training is not None else {k: v for k, v in data.items() if k != "training"}


def recipe_from_dict(data: Mapping[str, Any], *, where: str) -> Recipe:
    """The recipe of `recipe_to_dict`. Raises ValueError, one line, as `load_recipe`."""
    fields = dict(data)
    name = str(fields.pop("name", "recipe"))
    return _recipe(fields, name, where)


def _checked(path: Path) -> Recipe:
    with refusing(path):
        return _recipe(read_yaml(path, schema=SCHEMA), path.stem, str(path))


def _recipe(data: dict[str, Any], name: str, where: str) -> Recipe:
    for field in data:
        if field not in FIELDS:
            raise ValueError(f"{where}: {field}: no such field; there are {', '.join(FIELDS)}")
    epochs = _field(data, where, "epochs")
    if isinstance(epochs, bool) or not isinstance(epochs, (int, float)) or not 0 < epochs <= MOST_EPOCHS:
        raise ValueError(
            f"{where}: epochs: must be a number > 0 and at most {MOST_EPOCHS:,}, got {shown(epochs)}"
        )
    distilled = _field(data, where, "distilled")
    if not isinstance(distilled, bool):
        raise ValueError(f"{where}: distilled: must be true or false, got {shown(distilled)}")
    augmentation = _field(data, where, "augmentation")
    if augmentation not in AUGMENTATIONS:
        raise ValueError(
            f"{where}: augmentation: must be one of {', '.join(AUGMENTATIONS)}, got {shown(augmentation)}"
        )
    source = str(data.get("source", ""))
    training = training_from_dict(data["training"], where=where) if "training" in data else None
    return Recipe(name, float(epochs), distilled, augmentation, source, training)


def _field(data: dict[str, Any], where: str, field: str) -> Any:
    if field not in data:
        raise ValueError(f"{where}: {field}: is missing; give it a value")
    return data[field]
