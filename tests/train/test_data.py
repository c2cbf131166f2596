"""Data sets: what they hold, that they repeat, and what they refuse."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvnas.train.data import Data, Split, list_data, load_data
from hvnas.train.data import builtin as drawing
from hvnas.train.data.images import decode
from hvnas.train.data.splits import stratified, subset


def splits_of(data: Data) -> tuple[Split, Split, Split]:
    return data.train, data.val, data.test


def sizes(data: Data) -> tuple[int, int, int]:
    return len(data.train), len(data.val), len(data.test)


def everything(data: Data) -> np.ndarray:
    return np.concatenate([split.batch(np.arange(len(split))).images for split in splits_of(data)])


def test_the_registry_names_what_there_is() -> None:
    assert {"digits", "shapes", "folder:DIR", "hf:NAME"} <= set(list_data())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, r"unknown data set 'digit'; did you mean 'digits'\?"),
        ("photos", {}, r"unknown data set 'photos'; there are: digits, .*; folder:DIR takes images of yours"),
        ("ImageNet-1k", {}, r"write hf:ILSVRC/imagenet-1k .*, or folder:DIR where you have it$"),
        ("cifar10", {}, r"unknown data set 'cifar10'; write hf:uoft-cs/cifar10 "),
        ("ylecun/mnist", {}, r"no such folder; write hf:ylecun/mnist if it is of the Hugging Face hub$"),
        ("./photos", {}, r"'./photos'; there is no such folder; check the path, and write folder:DIR$"),
        ("folder", {}, r"data set 'folder': write it folder:DIR"),
        ("digits:here", {}, r"data set 'digits:here': write it digits"),
        ("digits", {"resolution": 4}, r"resolution: must be a whole number >= 8, got 4"),
        ("shapes", {"train_size": 0}, r"train_size: must be a whole number >= 1, got 0"),
        ("folder:/nowhere/at/all", {}, r"/nowhere/at/all: there is no such folder"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_data(name, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_bare_path_is_told_how_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "photos.zip").touch()
    with pytest.raises(ValueError, match=r"'imagenet'; it is a folder: write folder:imagenet$"):
        load_data("imagenet")
    with pytest.raises(ValueError, match="it is a file: unpack it, and write folder:DIR with a folder for"):
        load_data("photos.zip")


def test_digits_keep_one_stratified_split() -> None:
    pytest.importorskip("sklearn")
    data, again = load_data("digits"), load_data("digits", seed=7)
    assert (*sizes(data), data.classes, data.resolution) == (1295, 143, 359, 10, 32)
    assert not data.synthetic
    assert np.array_equal(everything(data), everything(again))
    assert data.key == again.key
    shares = np.bincount(data.test.labels) / np.bincount(
        np.concatenate([split.labels for split in splits_of(data)])
    )
    assert np.abs(shares - 0.2).max() < 0.005
    pixels = everything(data)
    assert pixels.shape[1:] == (3, 32, 32)
    assert pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert len(np.unique(pixels.reshape(len(pixels), -1), axis=0)) == 1797, "no image is in both splits"


def test_digits_at_their_own_resolution_are_the_files_pixels() -> None:
    sklearn = pytest.importorskip("sklearn.datasets")
    data = load_data("digits", resolution=8)
    raw = {tuple(image.ravel()) for image in np.rint(sklearn.load_digits().images * 255 / 16).astype(int)}
    first = data.test.batch(np.arange(20)).images
    assert all(tuple(image[0].ravel().astype(int)) in raw for image in first)


def test_fewer_digits_are_chosen_by_seed() -> None:
    pytest.importorskip("sklearn")
    small = [load_data("digits", train_size=100, seed=seed) for seed in (0, 0, 1)]
    assert [len(data.train) for data in small] == [100, 100, 100]
    assert small[0].key == small[1].key != small[2].key
    assert np.array_equal(everything(small[0]), everything(small[1]))
    assert not np.array_equal(everything(small[0]), everything(small[2]))
    assert np.ptp(np.bincount(small[0].train.labels)) <= 2


def test_shapes_repeat_and_say_that_they_are_synthetic() -> None:
    data = load_data("shapes", train_size=160, test_size=64)
    drawing._split.cache_clear()
    again, other = (load_data("shapes", train_size=160, test_size=64, seed=seed) for seed in (0, 1))
    assert data.synthetic
    assert "synthetic" in str(data)
    assert data.classes == 16
    assert np.bincount(data.train.labels).tolist() == [10] * 16
    assert np.array_equal(everything(data), everything(again))
    assert data.key == again.key != other.key
    assert not np.array_equal(everything(data), everything(other))


@pytest.mark.parametrize("resolution", [32, 48, 64, 96])
def test_shapes_scale(resolution: int) -> None:
    data = load_data("shapes", resolution=resolution, train_size=32, test_size=16)
    pixels = everything(data).astype(float) / 255.0
    assert pixels.shape == (64, 3, resolution, resolution)
    assert abs(pixels.mean() - data.mean[0]) < 0.05
    assert abs(pixels.std() - data.std[0]) < 0.03


def test_no_patch_alone_tells_the_arrangement_of_shapes() -> None:
    count = 40_000
    rng = np.random.default_rng(0)
    for arrangement in range(4):
        cells = drawing._place(np.full(count, arrangement), rng)
        assert all(len(set(row)) == 5 for row in cells[:500].tolist()), "patches never overlap"
        ends, singles = np.bincount(cells[:, :2].ravel()), np.bincount(cells[:, 2:].ravel())
        # Uniform over the 16 cells: within five standard errors.
        for counted in (ends, singles):
            expected = counted.sum() / 16
            assert np.abs(counted - expected).max() < 5 * np.sqrt(expected)
        rows, columns = np.divmod(cells[:, :2], 4)
        reach = np.maximum(abs(np.diff(rows, axis=1)), abs(np.diff(columns, axis=1)))
        assert reach.min() >= 2, "the two patches are never neighbours"


def test_no_texture_shows_at_a_coarse_resolution() -> None:
    rng = np.random.default_rng(0)
    waves = drawing._gratings(np.arange(4000) % 4, 7, 32, rng)
    assert np.abs(waves.mean((1, 2))).max() < 1e-6
    contrast = [waves[kind::4].std() for kind in range(4)]
    assert max(contrast) / min(contrast) < 1.1


def test_stratified_parts_are_whole_and_fixed() -> None:
    labels = np.repeat([0, 1, 2], [50, 10, 2])
    first, second = stratified(labels, share=0.2, seed=0)
    assert sorted([*first, *second]) == list(range(62))
    assert np.bincount(labels[second]).tolist() == [10, 2, 1]
    assert np.array_equal(second, stratified(labels, share=0.2, seed=0)[1])
    with pytest.raises(ValueError, match="class 1 has one image"):
        stratified(np.array([0, 0, 1]), share=0.2, seed=0)
    with pytest.raises(ValueError, match="class dog has one image"):
        stratified(np.array([0, 0, 1]), share=0.2, seed=0, names=("cat", "dog"))
    assert np.bincount(labels[subset(labels, 31, seed=0)]).tolist() == [25, 5, 1]


def write_images(root: Path, count: int = 5, *, seed: int = 0) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(seed)
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 100, (20, 30 + i, 3)).astype(np.uint8) + np.uint8(100 * label)
            image.fromarray(pixels).save(root / name / f"{i}.{'png' if i % 2 else 'jpg'}")


def test_a_folder_of_classes_is_split(tmp_path: Path) -> None:
    write_images(tmp_path)
    data = load_data(f"folder:{tmp_path}", resolution=16)
    assert data.class_names == ("cat", "dog")
    assert sizes(data) == (6, 2, 2)
    assert everything(data).shape == (10, 3, 16, 16)
    bright = data.train.batch(np.arange(6)).images.mean((1, 2, 3)) > 110
    assert np.array_equal(bright, data.train.labels == 1)
    (tmp_path / "cat" / "new.png").write_bytes((tmp_path / "cat" / "1.png").read_bytes())
    assert load_data(f"folder:{tmp_path}", resolution=16).key != data.key


def test_a_folder_with_its_own_test_split_keeps_it(tmp_path: Path) -> None:
    write_images(tmp_path / "train")
    write_images(tmp_path / "val", 3, seed=1)
    data = load_data(f"folder:{tmp_path}", resolution=16)
    assert sizes(data) == (8, 2, 6)
    (tmp_path / "val" / "cow").mkdir()
    (tmp_path / "val" / "cow" / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"'cow' is a class of train or val alone"):
        load_data(f"folder:{tmp_path}")


def test_an_unreadable_image_is_named_and_left_out_or_stops(tmp_path: Path) -> None:
    write_images(tmp_path)
    whole = (tmp_path / "cat" / "1.png").read_bytes()
    (tmp_path / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    data = load_data(f"folder:{tmp_path}", resolution=16)
    assert {Path(entry.name).name for entry in data.skipped} == {"cut.png", "notes.txt"}
    assert sum(sizes(data)) == 10
    assert "2 unreadable images left out" in str(data)
    with pytest.raises(ValueError, match=r"(cut\.png|notes\.txt): not a readable image") as caught:
        load_data(f"folder:{tmp_path}", resolution=16, strict=True)
    assert "\n" not in str(caught.value)


def test_images_too_many_for_memory_are_read_when_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path)
    kept = load_data(f"folder:{tmp_path}", resolution=16)
    monkeypatch.setattr("hvnas.train.data.images.KEEP_BYTES", 0)
    lazy = load_data(f"folder:{tmp_path}", resolution=16)
    assert type(lazy.train).__name__ == "ImageSplit"
    assert np.array_equal(everything(lazy), everything(kept))
    victim = sorted((tmp_path / "dog").iterdir())[0]
    victim.write_bytes(b"gone")
    assert len(everything(lazy)) == 9
    assert len(everything(lazy)) == 9
    assert [Path(entry.name) for entry in lazy.skipped] == [victim], "once, however often it is asked for"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("one", "needs two folders at least"),
        ("empty", "the class has no file"),
        ("text", "no readable image"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path, broken: str, message: str) -> None:
    pytest.importorskip("PIL")
    for name in ("a",) if broken == "one" else ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(0 if broken == "empty" else 3):
            (tmp_path / name / f"{i}.png").write_text("text")
    with pytest.raises(ValueError, match=message):
        load_data(f"folder:{tmp_path}")


def write_parquet(folder: Path, count: int = 10) -> None:
    datasets = pytest.importorskip("datasets")
    image = pytest.importorskip("PIL.Image")
    features = datasets.Features(
        {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["dark", "light"])}
    )
    encoded = []
    for i in range(count):
        file = io.BytesIO()
        image.fromarray(np.full((10, 12), 200 * (i % 2) + i, dtype=np.uint8)).save(file, "PNG")
        encoded.append({"bytes": b"broken" if i == 3 else file.getvalue(), "path": None})
    table = {"picture": encoded, "kind": [i % 2 for i in range(count)]}
    folder.mkdir()
    datasets.Dataset.from_dict(table, features=features).to_parquet(folder / "train.parquet")


def test_a_hugging_face_data_set_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "set")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = load_data(f"hf:{tmp_path / 'set'}", resolution=8)
    assert data.class_names == ("dark", "light")
    assert sum(sizes(data)) == 9
    assert [entry.reason != "" for entry in data.skipped] == [True]
    bright = data.train.batch(np.arange(len(data.train))).images.mean((1, 2, 3)) > 100
    assert np.array_equal(bright, data.train.labels == 1)
    with pytest.raises(ValueError, match="could not be loaded"):
        load_data(f"hf:{tmp_path / 'nothing'}")


def test_data_costs_no_torch() -> None:
    code = "import sys, hvnas.train.data as d; d.load_data('shapes', train_size=16, test_size=16)"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)


def test_the_three_splits_share_no_image(tmp_path: Path) -> None:
    write_images(tmp_path, 30)
    data = load_data(f"folder:{tmp_path}", resolution=16)
    assert sizes(data) == (44, 4, 12) and data.val_from == "set aside from the training images"
    assert len(np.unique(everything(data).reshape(60, -1), axis=0)) == 60
    assert "4 validation (set aside from the training images)" in str(data)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Training", "Testing"), (8, 2, 6)),
        (("train", "eval"), (8, 2, 6)),
        (("Train", "Val"), (8, 2, 6)),
        (("TRAIN", "dev", "Test"), (10, 6, 6)),
        (("train", "valid", "test"), (10, 6, 6)),
        (("train",), (6, 2, 2)),
    ],
)
def test_usual_names_of_splits_are_read(
    tmp_path: Path, names: tuple[str, ...], expected: tuple[int, int, int]
) -> None:
    for k, name in enumerate(names):
        write_images(tmp_path / name, 3 if k else 5, seed=k)
    data = load_data(f"folder:{tmp_path}", resolution=16)
    assert data.class_names == ("cat", "dog") and sizes(data) == expected
    assert "2 classes (cat, dog)" in str(data)


def test_images_without_classes_are_passed_over(tmp_path: Path) -> None:
    write_images(tmp_path / "train")
    write_images(tmp_path / "val", 3)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.png").write_bytes((tmp_path / "val" / "cat" / "1.png").read_bytes())
    data = load_data(f"folder:{tmp_path}", resolution=16)
    assert sizes(data) == (8, 2, 6) and "test has no folders of classes and is passed over" in str(data)


def test_classes_that_are_called_like_splits_stay_classes(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "cat").rename(tmp_path / "train")
    (tmp_path / "dog").rename(tmp_path / "bus")
    assert load_data(f"folder:{tmp_path}", resolution=16).class_names == ("bus", "train")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (("a/cat", "a/dog", "b/cat", "b/dog"), "has no images of its own, only folders"),
        (("test/cat", "test/dog", "val/cat", "val/dog"), "no folder called train"),
        (("train/cat", "train/dog", "Training/cat", "Training/dog"), "are both a train split"),
        (("data/cat", "data/dog"), "needs two folders at least"),
    ],
)
def test_folders_that_are_neither_splits_nor_classes_are_told(
    tmp_path: Path, made: tuple[str, ...], message: str
) -> None:
    image = pytest.importorskip("PIL.Image")
    for name in made:
        (tmp_path / name).mkdir(parents=True)
        image.new("RGB", (16, 16)).save(tmp_path / name / "x.png")
    with pytest.raises(ValueError, match=message) as caught:
        load_data(f"folder:{tmp_path}")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_leftovers_of_other_systems_are_passed_over_and_counted(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "__MACOSX" / "cat").mkdir(parents=True)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for place in ("Thumbs.db", "cat/Thumbs.db", "cat/._1.png", "dog/desktop.ini", ".DS_Store"):
        (tmp_path / place).write_bytes(b"left")
    data = load_data(f"folder:{tmp_path}", resolution=16)
    assert sum(sizes(data)) == 10 and not data.skipped and data.class_names == ("cat", "dog")
    assert "7 leftovers of other systems passed over" in str(data)


@pytest.mark.parametrize(("side", "expected"), [(9, 9), (32, 32), (50, 32), (100, 96), (300, 224)])
def test_images_are_read_at_their_own_size(tmp_path: Path, side: int, expected: int) -> None:
    image = pytest.importorskip("PIL.Image")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for k in range(4):
            image.new("RGB", (side + 20, side), (k, k, k)).save(tmp_path / name / f"{k}.png")
    data = load_data(f"folder:{tmp_path}")
    assert data.resolution == expected
    own = f"{side} px is the images' own size" if expected == side else f"own size is {side} px"
    assert own in str(data)
    assert load_data(f"folder:{tmp_path}", resolution=24).resolution == 24


def pictures() -> dict[str, Any]:
    """Half as bright as can be, in every mode that a file may have."""
    image = pytest.importorskip("PIL.Image")
    grey = image.new("L", (12, 12), 128)
    colour = image.new("RGB", (12, 12), (128, 128, 128))
    clear = image.new("RGBA", (12, 12), (0, 0, 0, 127))
    sixteen = image.fromarray(np.full((12, 12), 32896, dtype=np.uint16))
    return {
        "grey.png": grey,
        "colour.png": colour,
        "sixteen.png": sixteen,
        "sixteen.tif": sixteen,
        "palette.png": colour.quantize(4),
        "clear.png": clear,
        "clear_grey.png": clear.convert("LA"),
        "cmyk.jpg": colour.convert("CMYK"),
        "ycbcr.jpg": colour.convert("YCbCr"),
    }


def test_every_mode_keeps_its_brightness(tmp_path: Path) -> None:
    for name, picture in pictures().items():
        picture.save(tmp_path / name)
        pixels = decode(tmp_path / name, 8)
        assert pixels.shape == (3, 8, 8) and abs(pixels.astype(float).mean() - 128) < 2, name


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGBA", (12, 12), (0, 0, 0, 0)).save(tmp_path / "a.png")
    flat = image.new("P", (12, 12), 1)
    flat.putpalette([0, 0, 0, 9, 9, 9])
    flat.save(tmp_path / "b.png", transparency=1)
    assert [decode(tmp_path / name, 8).min() for name in ("a.png", "b.png")] == [255, 255]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_a_mode_without_a_range_is_refused_by_name(tmp_path: Path, kind: type) -> None:
    image = pytest.importorskip("PIL.Image")
    write_images(tmp_path)
    image.fromarray(np.full((12, 12), 7, dtype=kind)).save(tmp_path / "cat" / "odd.tif")
    data = load_data(f"folder:{tmp_path}", resolution=16)
    ((name, reason),) = data.skipped
    assert name.endswith("odd.tif") and "has no fixed range; save it with 8 or 16 bits" in reason


def test_grey_of_sixteen_bits_tells_classes_apart(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name, level in (("benign", 9_000), ("defect", 30_000)):
        (tmp_path / name).mkdir()
        for k in range(6):
            image.fromarray(np.full((64, 64), level + k, dtype=np.uint16)).save(tmp_path / name / f"{k}.png")
    data = load_data(f"folder:{tmp_path}")
    levels = data.train.batch(np.arange(len(data.train))).images.mean((1, 2, 3))
    assert np.allclose(levels, np.where(data.train.labels == 1, 117, 35), atol=1.5)
