"""Image folders: DIR/CLASS/*, or DIR/train/CLASS/* beside DIR/val/CLASS/* and DIR/test/CLASS/*."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvnas.train.data.images import (
    ImageSplit,
    check_pillow,
    chosen_resolution,
    kept_if_small,
    refuse_empty,
)
from hvnas.train.data.registry import Data, Request
from hvnas.train.data.splits import Labels, Split, held_out, stratified, subset

TEST_SHARE = 0.2
SPLIT_SEED = 0
# What folders of splits are called, in any case.
NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "eval", "dev"),
    "test": ("test", "testing", "tst"),
}
LICENSES = ("license", "licence", "copying")
# What systems leave behind beside what begins with a dot; in any case.
LEFTOVERS = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found", "icon\r"}
)


class _Files(NamedTuple):
    paths: list[Path]
    labels: Labels


class _Listed(NamedTuple):
    """The classes, the files of the three splits, and what is to be said of them."""

    classes: tuple[str, ...]
    train: _Files
    val: _Files
    test: _Files
    val_from: str
    remarks: tuple[str, ...]


def folder(request: Request) -> Data:
    """Images in a folder per class; the classes are the folders' names in alphabetical order.

    Folders called train, val and test (or the like, in any case) are splits. Without a test folder the
    validation images are the test split; without either, a fifth of each class is, always the same. Where
    there are no validation images, a tenth of the training images. The images' own size (at most 224 px)
    unless asked otherwise. A file that is no readable image is left out and named in `Data.skipped`;
    leftovers of systems are passed over and counted. Raises ValueError where the folder holds no
    classes, the splits differ in them, or, with `strict`, at the first such file.
    """
    check_pillow("folder")
    root = Path(request.argument)
    listed = _list(root)
    sizes = (request.train_size, request.test_size, request.test_size)
    splits = (listed.train, listed.val, listed.test)
    train, val, test = (_bounded(f, size, request.seed) for f, size in zip(splits, sizes, strict=True))
    resolution, remark = chosen_resolution(listed.train.paths, request.resolution)
    return Data(
        name=f"folder:{request.argument}",
        key=f"folder@{resolution}:{_fingerprint(root, (train, val, test))}",
        train=_split(train, root, resolution, request.strict),
        val=_split(val, root, resolution, request.strict),
        test=_split(test, root, resolution, request.strict),
        class_names=listed.classes,
        resolution=resolution,
        val_from=listed.val_from,
        remarks=tuple(filter(None, (*listed.remarks, remark))),
        license=_license(root),
    )


def _license(root: Path) -> str:
    """Where a folder says its licence: a file of that name; empty where there is none."""
    files = sorted(path.name for path in root.iterdir() if path.is_file() and path.stem.lower() in LICENSES)
    return f"see {files[0]} beside the images" if files else ""


def _list(root: Path) -> _Listed:
    if not root.is_dir():
        raise ValueError(f"{root}: there is no such folder; check the path")
    places = _split_folders(root)
    left = sum(_is_leftover(path) for path in root.rglob("*"))
    remarks = [f"{left} leftovers of other systems passed over"] if left else []
    if "train" not in places:
        classes, files = _classes(root)
        test = None
    else:
        classes, files = _classes(places["train"])
        labelled = {role: _labelled(places, role, classes, remarks) for role in ("val", "test")}
        test = labelled["test"] or labelled["val"]
        if labelled["test"] and labelled["val"]:
            return _Listed(classes, files, labelled["val"], labelled["test"], "", tuple(remarks))
    if test is None:
        try:
            first, second = stratified(files.labels, share=TEST_SHARE, seed=SPLIT_SEED, names=classes)
        except ValueError as error:
            raise ValueError(f"{root}: {error}") from None
        files, test = _take(files, first), _take(files, second)
        remarks.append("the test images are a fifth of those in the folder")
    kept, held, val_from = held_out(files.labels)
    return _Listed(classes, _take(files, kept), _take(files, held), test, val_from, tuple(remarks))


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders of splits by role; none where `root` holds classes, of which one may be called so."""
    folders = _folders(root)
    places: dict[str, Path] = {}
    for role, names in NAMES.items():
        named = [path for path in folders if path.name.casefold() in names]
        if len(named) > 1:
            raise ValueError(f"{root}: {named[0].name} and {named[1].name} are both a {role} split; keep one")
        if named:
            places[role] = named[0]
    if "train" not in places:
        if places and len(places) == len(folders) and not any(_own_files(path) for path in folders):
            raise ValueError(
                f"{root}: holds {', '.join(p.name for p in folders)} and no folder called train; add it"
            )
        return {}
    is_class = bool(_own_files(places["train"])) or len(_folders(places["train"])) < 2
    return {} if is_class and len(folders) > len(places) else places


def _labelled(
    places: dict[str, Path], role: str, classes: tuple[str, ...], remarks: list[str]
) -> _Files | None:
    """The files of a split, None where there is none or its images have no classes."""
    place = places.get(role)
    if place is None:
        return None
    if not _folders(place):
        remarks.append(f"{place.name} has no folders of classes and is passed over")
        return None
    others, files = _classes(place)
    if classes != others:
        only = sorted(set(classes) ^ set(others))
        raise ValueError(
            f"{place.parent}: {only[0]!r} is a class of {places['train'].name} or {place.name} alone; "
            "give both the same"
        )
    return files


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(".") or path.name.casefold() in LEFTOVERS


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not _is_leftover(path))


def _own_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and not _is_leftover(path)]


def _below(folder: Path) -> Iterable[Path]:
    """Every file below a folder, leftovers and what they hold left out."""
    for path in sorted(folder.iterdir()):
        if _is_leftover(path):
            continue
        if path.is_dir():
            yield from _below(path)
        elif path.is_file():
            yield path


def _classes(root: Path) -> tuple[tuple[str, ...], _Files]:
    """The classes of a folder and its files, in alphabetical order."""
    folders = _folders(root)
    if len(folders) < 2:
        raise ValueError(
            f"{root}: needs two folders at least, one per class; found "
            f"{', '.join(path.name for path in folders) or 'none'}"
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = list(_below(folder))
        if not files:
            raise ValueError(f"{folder}: the class has no file; remove the folder or put images in it")
        if not _own_files(folder):
            inner = ", ".join(path.name for path in _folders(folder)[:4])
            raise ValueError(
                f"{folder}: has no images of its own, only folders ({inner}); if these are the classes, "
                f"give folder:{folder}, else move the images up"
            )
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


def _fingerprint(root: Path, splits: Iterable[_Files]) -> str:
    """12 hexadecimal digits of the names and sizes of the files, split by split."""
    digest = hashlib.sha256()
    for files in splits:
        digest.update(b"split")
        for path in files.paths:
            digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()[:12]
