"""``hvnas predict``, and ``hvnas evaluate`` of an exported folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hvnas.arch import load_arch
from hvnas.export import Images, export_torch

NAMES = tuple("0123456789")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported network of ten classes, random weights, beside an image."""
    from PIL import Image

    path = tmp_path_factory.mktemp("shipped")
    torch.manual_seed(0)
    arch = load_arch("efficientvit_b0").shrunk().with_(classes=10, resolution=32)
    images = Images(class_names=NAMES, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    export_torch(arch, path / "net", images=images)
    noise = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path / "photo.png")
    return path


def test_top_five_of_each_image(hvnas, folder: Path) -> None:
    image = folder / "photo.png"
    result = hvnas("predict", folder / "net", image, image, "--json")
    assert result.exit_code == 0, result.stderr
    first, second = json.loads(result.stdout)
    assert first == second and first["image"] == str(image)
    assert [set(guess) for guess in first["top"]] == [{"class", "index", "probability"}] * 5
    shares = [guess["probability"] for guess in first["top"]]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1
    assert all(guess["class"] == NAMES[guess["index"]] for guess in first["top"])

    lines = hvnas("predict", folder / "net", image, "--top", 2).stdout.splitlines()
    assert lines[0].split() == ["image", "rank", "class", "probability"] and len(lines) == 3
    rows = hvnas("predict", folder / "net", image, "--top", 2, "--format", "csv").stdout.splitlines()
    assert rows[0] == "image,rank,class,index,probability" and len(rows) == 3


def test_an_exported_folder_is_evaluated(hvnas, folder: Path) -> None:
    result = hvnas("evaluate", folder / "net", "--data", "digits", "--test-size", 20, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["images"], found["resolution"]) == (20, 32)
    assert found["weights"] == str(folder / "net" / "model.safetensors") and found["params"] > 0


def test_unreadable_images_are_one_line(hvnas, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    for image, said in (
        (tmp_path / "broken.png", "not a readable image"),
        (tmp_path / "none.png", "there is no such file"),
        (tmp_path, "is a folder"),
    ):
        result = hvnas("predict", folder / "net", folder / "photo.png", image, "--json")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"hvnas: error: {image}: {said}") and result.stderr.count("\n") == 1
