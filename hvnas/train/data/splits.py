"""The images of one split, in memory or read when they are needed.

Shapes: B batch, C channels (always 3), R resolution; images are uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Indices = NDArray[np.int64]


class Batch(NamedTuple):
    """Images ``[B, 3, R, R]`` and their classes ``[B]``."""

    images: Images
    labels: Labels


class Skipped(NamedTuple):
    """An image that could not be read."""

    name: str
    reason: str


class Split(Protocol):
    """What a training loop asks of a set of images."""

    @property
    def labels(self) -> Labels:
        """The class of every image. Shape [n]."""
        ...

    @property
    def skipped(self) -> Sequence[Skipped]:
        """The images left out so far because they could not be read, each once."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Indices) -> Batch:
        """Return the images at `indices`, in order; shorter where one of them cannot be read."""
        ...


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """Images in memory: ``[n, 3, R, R]`` and ``[n]``."""

    images: Images
    labels: Labels
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        assert self.images.ndim == 4 and self.images.shape[1] == 3, self.images.shape
        assert self.images.dtype == np.uint8 and len(self.images) == len(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Indices) -> Batch:
        return Batch(self.images[indices], self.labels[indices])


def to_three_channels(grey: NDArray[np.uint8]) -> Images:
    """Grey images ``[n, R, R]`` as ``[n, 3, R, R]``: networks read three channels."""
    return np.repeat(grey[:, None], 3, axis=1)


def stratified(
    labels: Labels, *, share: float, seed: int, names: Sequence[str] = ()
) -> tuple[Indices, Indices]:
    """Indices of two parts, the second holding `share` of each class (rounded, at least one).

    The same for the same labels, share and seed. Both parts are in ascending order.
    Raises ValueError where a class has fewer than two images, naming it by `names` or by its number.
    """
    rng = np.random.default_rng(seed)
    second = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            shown = names[label] if names else label
            raise ValueError(
                f"class {shown} has one image; add another for its test split, or leave the class out"
            )
        count = min(len(members) - 1, max(1, round(share * len(members))))
        second[rng.permutation(members)[:count]] = True
    return np.flatnonzero(~second), np.flatnonzero(second)


VAL_SHARE = 0.1
VAL_SEED = 1  # of the split that everyone gets, beside that of the test images
SPLIT_OFF = "set aside from the training images"
TRAINED_ON = "the training images, too few to set any aside"


def held_out(labels: Labels) -> tuple[Indices, Indices, str]:
    """Indices to train on and to validate with, where a data set brings no validation images, and a remark.

    A tenth of each class (rounded, at least one image of two or more), always the same; where no class has
    two images, all of them twice.
    """
    plenty = np.isin(labels, np.flatnonzero(np.bincount(labels) > 1))
    if not plenty.any():
        return np.arange(len(labels)), np.arange(len(labels)), TRAINED_ON
    places = np.flatnonzero(plenty)
    _, second = stratified(labels[places], share=VAL_SHARE, seed=VAL_SEED)
    val = places[second]
    return np.setdiff1d(np.arange(len(labels)), val), val, SPLIT_OFF


def subset(labels: Labels, size: int | None, *, seed: int) -> Indices:
    """Indices of `size` images with the classes' shares kept as far as they divide; all where None."""
    if size is None or size >= len(labels):
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    # Round-robin over positions inside each class: any prefix holds the classes in nearly equal parts.
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.sort(np.argsort(rank, kind="stable")[:size])
