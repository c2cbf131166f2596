"""Images on their way to a network, batch by batch, and top-1.

Shapes: B batch, R resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.train.augment import Augmentation
from hvnas.train.data.registry import Data
from hvnas.train.data.splits import Batch, Indices, Split

TEST_BATCH = 256
SEVERAL = 5


def to_tensors(
    batch: Batch, data: Data, *, device: torch.device, augment: Augmentation | None = None
) -> tuple[Tensor, Tensor]:
    """Normalised images ``[B, 3, R, R]``, augmented before where asked, and classes ``[B]`` on `device`."""
    images = torch.from_numpy(batch.images).to(device).float().div_(255.0)
    if augment is not None:
        images = augment(images)
    mean = images.new_tensor(data.mean).view(-1, 1, 1)
    std = images.new_tensor(data.std).view(-1, 1, 1)
    return (images - mean) / std, torch.from_numpy(batch.labels).to(device)


def scaled(images: Tensor, resolution: int | None) -> Tensor:
    """Images ``[B, 3, R, R]`` at another `resolution`, bilinear; as they are where None."""
    if resolution in (None, images.shape[-1]):
        return images
    return F.interpolate(images, size=resolution, mode="bilinear", antialias=True, align_corners=False)


@dataclass(frozen=True)
class Scores:
    """Of `images` images: top-1 and top-5 in points (top-5 None below six classes), mean cross-entropy."""

    top1: float
    top5: float | None
    loss: float
    images: int


def top1_of(
    model: nn.Module,
    split: Split,
    data: Data,
    *,
    device: torch.device,
    precision: AbstractContextManager[object] | None = None,
) -> float:
    """Top-1 of `model`, which is put into eval, on a split of `data`, in points.

    `precision` is a context that can be entered again, such as torch's autocast.
    """
    return scores_of(model, split, data, device=device, precision=precision).top1


class Mistake(NamedTuple):
    """An image ``[3, R, R]`` of class `label`, taken for `predicted` with that share of the softmax."""

    image: NDArray[np.uint8]
    label: int
    predicted: int
    share: float


@dataclass(frozen=True)
class Examination:
    """What a network made of a split: scores, each image's class and the predicted one, the worst mistakes.

    Shapes: ``[images]`` for `labels` and `predicted`. `mistakes` are those of which the network was surest.
    """

    scores: Scores
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    mistakes: tuple[Mistake, ...]

    def confusion(self, classes: int) -> NDArray[np.int64]:
        """Images by true class (rows) and predicted class (columns). Shape [classes, classes]."""
        pairs = self.labels * classes + self.predicted
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def scores_of(
    model: nn.Module,
    split: Split,
    data: Data,
    *,
    device: torch.device,
    precision: AbstractContextManager[object] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Scores:
    """Scores of `model`, which is put into eval, on a split of `data`.

    `precision` as in `top1_of`; `progress` is told how many images were seen. An empty split scores 0.
    """
    return examine(model, split, data, device=device, precision=precision, progress=progress).scores


@torch.no_grad()
def examine(
    model: nn.Module,
    split: Split,
    data: Data,
    *,
    device: torch.device,
    precision: AbstractContextManager[object] | None = None,
    progress: Callable[[int], None] = lambda _: None,
    mistakes: int = 0,
) -> Examination:
    """What `model`, which is put into eval, makes of a split of `data`, with so many of its mistakes.

    Options are those of `scores_of`.
    """
    model.eval()
    tally = _Tally(data.classes)
    labelled: list[NDArray[np.int64]] = []
    predicted: list[NDArray[np.int64]] = []
    worst: list[Mistake] = []
    for batch in test_batches(split, size=TEST_BATCH):
        if not len(batch.labels):
            continue
        images, labels = to_tensors(batch, data, device=device)
        with precision or nullcontext():
            logits = model(images).float()
        predicted.append(tally.add(logits, labels).cpu().numpy())
        labelled.append(batch.labels)
        if mistakes:
            shares = logits.softmax(1).amax(1).tolist()
            worst = _worst([*worst, *_mistaken(batch, predicted[-1], shares)], mistakes)
        progress(tally.seen)
    none = np.empty(0, dtype=np.int64)
    return Examination(
        tally.scores(), np.concatenate([none, *labelled]), np.concatenate([none, *predicted]), tuple(worst)
    )


def counted(outputs: Iterable[tuple[Tensor, Tensor]], *, classes: int) -> Scores:
    """Scores of logits ``[B, classes]`` and labels ``[B]``, batch by batch."""
    tally = _Tally(classes)
    for logits, labels in outputs:
        tally.add(logits.float(), labels)
    return tally.scores()


class _Tally:
    """Counts what a network gets right, batch by batch."""

    def __init__(self, classes: int) -> None:
        self.classes, self.seen = classes, 0
        self._first = self._several = 0
        self._loss = 0.0

    def add(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Count logits ``[B, classes]`` and labels ``[B]``; the likeliest classes ``[B]``."""
        # of equal logits, which integers have many of, the first class comes first, as in argmax
        best = logits.argsort(dim=1, descending=True, stable=True)[:, :SEVERAL]
        self._first += int((best[:, 0] == labels).sum())
        self._several += int((best == labels[:, None]).sum())
        self._loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        self.seen += len(labels)
        return best[:, 0]

    def scores(self) -> Scores:
        """What was counted; 0 where nothing was."""
        share = 100.0 / max(1, self.seen)
        top5 = share * self._several if self.classes > SEVERAL else None
        return Scores(share * self._first, top5, self._loss / max(1, self.seen), self.seen)


def _mistaken(batch: Batch, predicted: NDArray[np.int64], shares: Sequence[float]) -> Iterator[Mistake]:
    for i in np.flatnonzero(predicted != batch.labels).tolist():
        yield Mistake(batch.images[i], int(batch.labels[i]), int(predicted[i]), shares[i])


def _worst(mistakes: Sequence[Mistake], count: int) -> list[Mistake]:
    return sorted(mistakes, key=lambda mistake: -mistake.share)[:count]


class Part(NamedTuple):
    """The images of one step, and the side in pixels that they are scaled to (None: their own)."""

    indices: Indices
    resolution: int | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How `count` images are dealt out to the steps of an epoch.

    `batch` images a step; `sizes` are the sides of the batches in pixels, where there are several, for images
    of `resolution`: with `grow` a smaller one takes more images, a larger one no fewer. `repeats` is how
    often an image comes up. Of each batch every `workers`-th image is a worker's.
    """

    count: int
    batch: int
    seed: int
    repeats: int = 1
    sizes: tuple[int, ...] = ()
    resolution: int = 0
    grow: bool = True
    workers: int = 1

    @property
    def steps(self) -> int:
        """Steps of every epoch. The last, smaller batch is left out: batch statistics stay comparable."""
        return len(self._counts())

    @property
    def least(self) -> int:
        """The fewest images that a worker gets in a step."""
        return min(count for count, _ in self._counts()) // self.workers

    def parts(self, epoch: int, *, first: int = 0, rank: int = 0) -> list[Part]:
        """The steps from number `first` on, in the order that seed and epoch alone give."""
        rng = np.random.default_rng([self.seed, epoch])
        order = np.repeat(rng.permutation(self.count), self.repeats)[: self.count]
        counts = self._counts()
        if self.sizes:
            rng.shuffle(counts)
        ends = np.cumsum([count for count, _ in counts])
        parts = [
            Part(order[end - count : end][rank :: self.workers], size)
            for (count, size), end in zip(counts, ends, strict=True)
        ]
        return parts[first:]

    def _counts(self) -> list[tuple[int, int | None]]:
        """Images and side of each step: the sizes in turn, so that every epoch has as many of each."""
        if not self.sizes:
            size = self._whole(self.batch)
            return [(size, None)] * (self.count // size)
        kinds = [
            (self._whole(self.batch * max(1, self.resolution**2 / side**2 if self.grow else 1)), side)
            for side in self.sizes
        ]
        counts: list[tuple[int, int | None]] = []
        left = self.count
        while not counts or left >= kinds[len(counts) % len(kinds)][0]:
            counts.append(kinds[len(counts) % len(kinds)])
            left -= counts[-1][0]
        return counts

    def _whole(self, wanted: float) -> int:
        """A batch that workers share evenly and the images suffice for."""
        images = min(int(wanted), self.count)
        return max(self.workers, images - images % self.workers)


def training_batches(split: Split, parts: Sequence[Part]) -> Iterator[tuple[Batch, int | None]]:
    """The batches of `parts`, each with the side that it is to be scaled to."""
    batches = _read(split, [part.indices for part in parts])
    return zip(batches, (part.resolution for part in parts), strict=True)


def test_batches(split: Split, *, size: int) -> Iterator[Batch]:
    """Every image once, in order."""
    return _read(split, [np.arange(at, min(at + size, len(split))) for at in range(0, len(split), size)])


def _read(split: Split, parts: Sequence[Indices]) -> Iterator[Batch]:
    if not parts:
        return
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(split.batch, parts[0])
        for part in parts[1:]:
            batch = coming.result()
            coming = reader.submit(split.batch, part)
            yield batch
        yield coming.result()
