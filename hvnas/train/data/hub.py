"""Hugging Face data sets through the `datasets` library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hvnas.train.data.images import ImageSplit, check_pillow, kept_if_small, refuse_empty
from hvnas.train.data.registry import Data, Request, register_data
from hvnas.train.data.splits import Indices, Split, stratified, subset

RESOLUTION = 224
TEST_SHARE = 0.2
SPLIT_SEED = 0
TRAIN = "train"
TESTS = ("test", "validation", "valid", "val")


@register_data("hf", argument="NAME")
def hub(request: Request) -> Data:
    """A data set of the Hugging Face hub by name, or a local folder that `datasets` reads (parquet, ...).

    The first column of images and the first of class labels count. The splits are ``train`` and ``test``
    (or ``validation``); where there is no second one, a fifth of each class of the first. 224 px unless
    asked otherwise. Raises ValueError where the library is missing, the data set cannot be loaded, or it
    has no such columns.
    """
    check_pillow("hf")
    name = request.argument
    parts = _load(name)
    if TRAIN not in parts:
        raise ValueError(f"hf:{name}: has no split {TRAIN!r}; it has {', '.join(parts)}")
    image, label = _columns(parts[TRAIN], name)
    train, test = _two(parts, label)
    resolution = request.resolution or RESOLUTION
    splits = []
    keys = []
    for (table, indices), size in ((train, request.train_size), (test, request.test_size)):
        labels = np.asarray(table.with_format(None)[label], dtype=np.int64)[indices]
        chosen = indices[subset(labels, size, seed=request.seed)]
        splits.append(_split(table, chosen, image, label, name, resolution, request.strict))
        keys.append(f"{table._fingerprint}:{len(chosen)}")
    return Data(
        name=f"hf:{name}",
        key=f"hf@{resolution}:{'+'.join(keys)}#{request.seed}",
        train=splits[0],
        test=splits[1],
        class_names=tuple(parts[TRAIN].features[label].names),
        resolution=resolution,
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


def _two(parts: Any, label: str) -> tuple[tuple[Any, Indices], tuple[Any, Indices]]:
    """Tables and indices of the training and of the test split."""
    train = parts[TRAIN]
    second = next((parts[name] for name in TESTS if name in parts), None)
    if second is not None:
        return (train, np.arange(len(train))), (second, np.arange(len(second)))
    labels = np.asarray(train.with_format(None)[label], dtype=np.int64)
    first, held = stratified(labels, share=TEST_SHARE, seed=SPLIT_SEED)
    return (train, first), (train, held)


def _split(
    table: Any, indices: Indices, image: str, label: str, name: str, resolution: int, strict: bool
) -> Split:
    from datasets import Image

    undecoded = table.cast_column(image, Image(decode=False))

    def read(index: int) -> Path | bytes:
        entry = undecoded[int(indices[index])][image]
        return entry["bytes"] if entry["bytes"] is not None else Path(entry["path"])

    labels = np.asarray(table.with_format(None)[label], dtype=np.int64)[indices]
    if (labels < 0).any():
        raise ValueError(f"hf:{name}: {label}: some images have no class (-1); choose splits with labels")
    names = [f"hf:{name} image {index}" for index in indices]
    split = ImageSplit(read, names, labels, resolution=resolution, strict=strict)
    kept = kept_if_small(split, resolution)
    refuse_empty(kept, f"hf:{name}", split.skipped)
    return kept
