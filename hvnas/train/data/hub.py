"""Hugging Face data sets through the `datasets` library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hvnas.train.data.images import ImageSplit, check_pillow, chosen_resolution, kept_if_small, refuse_empty
from hvnas.train.data.registry import Data, Request
from hvnas.train.data.splits import Indices, Labels, Split, held_out, stratified, subset

TEST_SHARE = 0.2
SPLIT_SEED = 0
TRAIN = "train"
VALS, TESTS = ("validation", "valid", "val", "dev"), ("test",)


def hub(request: Request) -> Data:
    """A data set of the Hugging Face hub by name, or a local folder that `datasets` reads (parquet, ...).

    The first column of images and the first of class labels count. The splits are ``train``, ``validation``
    and ``test``; where there is but one beside ``train`` it is scored at the end, where there is none a
    fifth of each class is, and the validation images are a tenth of the training images. The images' own
    size (at most 224 px) unless asked otherwise. Raises ValueError where the library is missing, the data
    set cannot be loaded, or it has no such columns.
    """
    check_pillow("hf")
    name = request.argument
    parts = _load(name)
    if TRAIN not in parts:
        raise ValueError(f"hf:{name}: has no split {TRAIN!r}; it has {', '.join(parts)}")
    image, label = _columns(parts[TRAIN], name)
    train, val, test, val_from = _three(parts, label)
    files = _Files(train[0], image, np.arange(len(train[0])))
    resolution, remark = chosen_resolution(files, request.resolution)
    splits = []
    keys = []
    sizes = (request.train_size, request.test_size, request.test_size)
    for (table, indices), size in zip((train, val, test), sizes, strict=True):
        labels = _labels(table, label)[indices]
        chosen = indices[subset(labels, size, seed=request.seed)]
        splits.append(_split(table, chosen, image, label, name, resolution, request.strict))
        keys.append(f"{table._fingerprint}:{len(chosen)}")
    return Data(
        name=f"hf:{name}",
        key=f"hf@{resolution}:{'+'.join(keys)}#{request.seed}",
        train=splits[0],
        val=splits[1],
        test=splits[2],
        val_from=val_from,
        remarks=(remark,) if remark else (),
        class_names=tuple(parts[TRAIN].features[label].names),
        resolution=resolution,
        license=str(parts[TRAIN].info.license or ""),
    )


def _load(name: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise ValueError(
            f"hf:{name}: datasets is not installed; pip install 'hvnas[train]' brings it"
        ) from None
    try:
        return datasets.load_dataset(name)
    except Exception as error:  # the library's own errors have no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"hf:{name}: could not be loaded ({reason}); check the name and the network"
        ) from None


def _columns(table: Any, name: str) -> tuple[str, str]:
    from datasets import ClassLabel, Image

    def first(kind: type, what: str) -> str:
        found = next((key for key, feature in table.features.items() if isinstance(feature, kind)), None)
        if found is None:
            raise ValueError(
                f"hf:{name}: has no column of {what}; choose a data set for image classification"
            )
        return found

    return first(Image, "images"), first(ClassLabel, "class labels")


_Rows = tuple[Any, Indices]


def _three(parts: Any, label: str) -> tuple[_Rows, _Rows, _Rows, str]:
    """Tables and rows of the training, validation and test images, and where the second come from.

    A data set with one split beside ``train`` is scored on that, whatever it is called.
    """
    whole = parts[TRAIN]
    rows = np.arange(len(whole))
    named = [parts[name] for name in VALS if name in parts and _labels(parts[name], label).min() >= 0]
    tests = [parts[name] for name in TESTS if name in parts and _labels(parts[name], label).min() >= 0]
    if tests and named:
        val, test = named[0], tests[0]
        return (whole, rows), (val, np.arange(len(val))), (test, np.arange(len(test))), ""
    labels = _labels(whole, label)
    if tests or named:
        table = (tests or named)[0]
        test_rows = (table, np.arange(len(table)))
    else:
        names = whole.features[label].names
        rows, held = stratified(labels, share=TEST_SHARE, seed=SPLIT_SEED, names=names)
        test_rows = (whole, held)
    kept, val_places, val_from = held_out(labels[rows])
    return (whole, rows[kept]), (whole, rows[val_places]), test_rows, val_from


def _labels(table: Any, label: str) -> Labels:
    return np.asarray(table.with_format(None)[label], dtype=np.int64)


class _Files(Sequence[Path | bytes]):
    """The files of a table's images, undecoded."""

    def __init__(self, table: Any, image: str, rows: Indices) -> None:
        from datasets import Image

        self._table, self._image, self._rows = table.cast_column(image, Image(decode=False)), image, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        entry = self._table[int(self._rows[index])][self._image]
        return entry["bytes"] if entry["bytes"] is not None else Path(entry["path"])


def _split(
    table: Any, indices: Indices, image: str, label: str, name: str, resolution: int, strict: bool
) -> Split:
    read = _Files(table, image, indices).__getitem__
    labels = _labels(table, label)[indices]
    if (labels < 0).any():
        raise ValueError(f"hf:{name}: {label}: some images have no class (-1); choose splits with labels")
    names = [f"hf:{name} image {index}" for index in indices]
    split = ImageSplit(read, names, labels, resolution=resolution, strict=strict)
    kept = kept_if_small(split, resolution)
    refuse_empty(kept, f"hf:{name}", split.skipped)
    return kept
