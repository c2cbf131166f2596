"""YAML files of architectures: what is written is what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hvnas.arch import from_dict, list_models, load_arch, models_dir, save_arch, to_dict


@pytest.mark.parametrize("name", list_models())
def test_round_trip(name: str, tmp_path: Path) -> None:
    arch = load_arch(name)
    save_arch(arch, tmp_path / "arch.yaml")
    again = load_arch(tmp_path / "arch.yaml")
    assert again == arch
    assert (again.name, again.published, again.found) == (name, arch.published, arch.found)
    assert to_dict(again) == to_dict(arch) == to_dict(from_dict(to_dict(arch), where="memory"))


@pytest.mark.parametrize("name", list_models())
def test_shipped_files_are_complete_and_ordered(name: str) -> None:
    shipped = yaml.safe_load((models_dir() / f"{name}.yaml").read_text(encoding="utf-8"))
    data = to_dict(load_arch(name))
    assert shipped == data
    assert list(shipped) == list(data)


def test_found_travels(tmp_path: Path) -> None:
    text = (models_dir() / "efficientformer_l1.yaml").read_text(encoding="utf-8")
    path = tmp_path / "found.yaml"
    path.write_text(text + "found: {seed: 3, choices: {stages.0.width: 48}}\n", encoding="utf-8")
    arch = load_arch(path)
    assert arch.found == {"seed": 3, "choices": {"stages.0.width": 48}}
    save_arch(arch, path)
    assert load_arch(path).found == arch.found


def test_saving_replaces_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "arch.yaml"
    path.write_text("x" * 100_000, encoding="utf-8")
    save_arch(load_arch("efficientformer_l1"), path)
    assert load_arch(path) == load_arch("efficientformer_l1")
    assert [entry.name for entry in tmp_path.iterdir()] == ["arch.yaml"]


def test_name_defaults_to_that_of_the_file(tmp_path: Path) -> None:
    data = to_dict(load_arch("efficientformer_l1"))
    del data["name"]
    path = tmp_path / "mine.yml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert load_arch(path).name == "mine"


def test_depth_0_is_an_empty_run() -> None:
    data = to_dict(load_arch("efficientformer_l1"))
    data["stages"][3]["global"]["depth"] = 0
    assert from_dict(data, where="memory").stages[3].global_ is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "efficientformer_l2",
            r"unknown model .*nearest of \d+: efficientformer_l1, .*a path to a \.yaml file",
        ),
        ("", r"unknown model .*there are: coatnet_0, .*a path to a \.yaml file"),
        ("../secret", r"'\.\./secret': leads to no network; .*a \.yaml file"),
        ("models/efficientformer_l1", "'models/efficientformer_l1': leads to no network"),
    ],
)
def test_unknown_names_are_told_what_there_is(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_arch(name)
