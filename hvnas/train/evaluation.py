"""Images on their way to a network, and top-1.

Shapes: B batch, R resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.train.augment import Augmentation
from hvnas.train.batches import test_batches
from hvnas.train.data.registry import Data
from hvnas.train.data.splits import Batch, Split

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


@torch.no_grad()
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
    model.eval()
    first = several = seen = 0
    loss = 0.0
    for batch in test_batches(split, size=TEST_BATCH):
        if not len(batch.labels):
            continue
        images, labels = to_tensors(batch, data, device=device)
        with precision or nullcontext():
            logits = model(images).float()
        best = logits.topk(min(SEVERAL, logits.shape[1])).indices
        first += int((best[:, 0] == labels).sum())
        several += int((best == labels[:, None]).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        seen += len(labels)
        progress(seen)
    share = 100.0 / max(1, seen)
    top5 = share * several if data.classes > SEVERAL else None
    return Scores(share * first, top5, loss / max(1, seen), seen)
