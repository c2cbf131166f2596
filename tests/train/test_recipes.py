"""Recipes: those that ship load, bad ones are refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hvnas.train.recipes import AUGMENTATIONS, list_recipes, load_recipe


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_load_and_say_where_they_come_from(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.augmentation in AUGMENTATIONS
    assert recipe.source


def test_the_default_is_three_hundred_modern_epochs_without_a_teacher() -> None:
    recipe = load_recipe("modern300")
    assert (recipe.epochs, recipe.distilled, recipe.augmentation) == (300.0, False, "modern")
    assert str(recipe) == "modern300 (300 epochs, modern augmentation, not distilled)"


def test_an_unknown_name_is_met_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"unknown recipe 'modern30'; did you mean 'modern300'\?") as caught:
        load_recipe("modern30")
    assert "\n" not in str(caught.value)


PLAIN = "epochs: 300\ndistilled: false\naugmentation: modern\n"
SCALES = "{base: 256, sizes: [100000]}"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("epochs", "epochs: 0\ndistilled: false\naugmentation: modern\n"),
        ("epochs", "epochs: .nan\ndistilled: false\naugmentation: modern\n"),
        ("epochs", "epochs: many\ndistilled: false\naugmentation: modern\n"),
        ("epochs", "epochs: true\ndistilled: false\naugmentation: modern\n"),
        ("epochs", "epochs: 1.0e+300\ndistilled: false\naugmentation: modern\n"),
        ("distilled", f"epochs: 300\ndistilled: [{'1, ' * 3000}]\naugmentation: modern\n"),
        ("training.batch", f"{PLAIN}training: {{batch: 100000000, optimizer: {{lr: 0.1}}}}\n"),
        ("training.optimizer.lr", f"{PLAIN}training: {{batch: 8, optimizer: {{lr: 1.0e+300}}}}\n"),
        ("training.scales", f"{PLAIN}training: {{batch: 8, optimizer: {{lr: 1}}, scales: {SCALES}}}\n"),
        ("distilled", "epochs: 300\ndistilled: 1\naugmentation: modern\n"),
        ("distilled", "epochs: 300\naugmentation: modern\n"),
        ("augmentation", "epochs: 300\ndistilled: false\naugmentation: heavy\n"),
        ("teacher", "epochs: 300\ndistilled: true\naugmentation: modern\nteacher: big\n"),
    ],
)
def test_a_bad_field_is_named_with_its_file(tmp_path: Path, field: str, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("schema: hvnas.recipe/1\n" + text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"{field}: ") as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 500


def test_a_recipe_of_the_readers_own_loads(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "schema: hvnas.recipe/1\nepochs: 90\ndistilled: false\naugmentation: basic\n", encoding="utf-8"
    )
    assert load_recipe(path).epochs == 90.0


def test_recipes_cost_no_torch() -> None:
    code = (
        "import sys, hvnas.train.recipes as r; r.load_recipe('modern300'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
