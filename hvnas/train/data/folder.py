"""Image folders: DIR/CLASS/*, or DIR/train/CLASS/* beside DIR/test/CLASS/* (or val, valid, validation)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvnas.train.data.images import ImageSplit, check_pillow, kept_if_small, refuse_empty
from hvnas.train.data.registry import Data, Request, register_data
from hvnas.train.data.splits import Labels, Split, stratified, subset

RESOLUTION = 224
TEST_SHARE = 0.2
SPLIT_SEED = 0
TRAIN = "train"
TESTS = ("test", "val", "valid", "validation")  # the first that is there


class _Files(NamedTuple):
    paths: list[Path]
    labels: Labels


@register_data("folder", argument="DIR")
def folder(request: Request) -> Data:
    """Images in a folder per class; the classes are the folders' names in alphabetical order.

    Without a test folder, a fifth of each class becomes the test split, always the same. 224 px unless
    asked otherwise. A file that is no readable image is left out and named in `Data.skipped`; names
    that begin with a dot are not looked at. Raises ValueError where the folder holds no classes, the splits
    differ in them, or, with `strict`, at the first such file.
    """
    check_pillow("folder")
    root = Path(request.argument)
    names, train, test = _listed(root)
    train, test = (
        _bounded(files, size, request.seed)
        for files, size in ((train, request.train_size), (test, request.test_size))
    )
    resolution = request.resolution or RESOLUTION
    return Data(
        name=f"folder:{request.argument}",
        key=f"folder@{resolution}:{_fingerprint(root, train, test)}",
        train=_split(train, root, resolution, request.strict),
        test=_split(test, root, resolution, request.strict),
        class_names=names,
        resolution=resolution,
    )


def _listed(root: Path) -> tuple[tuple[str, ...], _Files, _Files]:
    if not root.is_dir():
        raise ValueError(f"{root}: there is no such folder; check the path")
    tested = next((root / name for name in TESTS if (root / name).is_dir()), None)
    if not (root / TRAIN).is_dir() or tested is None:
        names, files = _classes(root)
        try:
            first, second = stratified(files.labels, share=TEST_SHARE, seed=SPLIT_SEED)
        except ValueError as error:
            raise ValueError(f"{root}: {error}") from None
        return names, _take(files, first), _take(files, second)
    names, train = _classes(root / TRAIN)
    others, test = _classes(tested)
    if names != others:
        only = sorted(set(names) ^ set(others))
        raise ValueError(
            f"{root}: {only[0]!r} is a class of {TRAIN} or {tested.name} alone; give both the same"
        )
    return names, train, test


def _classes(root: Path) -> tuple[tuple[str, ...], _Files]:
    """The classes of a folder and its files, in alphabetical order."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(folders) < 2:
        raise ValueError(f"{root}: needs two folders at least, one per class; found {len(folders)}")
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
        if not files:
            raise ValueError(f"{folder}: the class has no file; remove the folder or put images in it")
        paths += files
        labels += [label] * len(files)
    return tuple(path.name for path in folders), _Files(paths, np.array(labels, dtype=np.int64))


def _take(files: _Files, indices: np.ndarray) -> _Files:
    return _Files([files.paths[i] for i in indices], files.labels[indices])


def _bounded(files: _Files, size: int | None, seed: int) -> _Files:
    return _take(files, subset(files.labels, size, seed=seed))


def _split(files: _Files, root: Path, resolution: int, strict: bool) -> Split:
    split = ImageSplit(
        files.paths.__getitem__,
        [str(path) for path in files.paths],
        files.labels,
        resolution=resolution,
        strict=strict,
    )
    kept = kept_if_small(split, resolution)
    refuse_empty(kept, str(root), split.skipped)
    return kept


def _fingerprint(root: Path, train: _Files, test: _Files) -> str:
    """12 hexadecimal digits of the names and sizes of the files, split by split."""
    digest = hashlib.sha256()
    for files in (train, test):
        digest.update(b"split")
        for path in files.paths:
            digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()[:12]
