"""Images on their way to a network, and top-1.

Shapes: B batch, R resolution.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from hvnas.train.augment import Augmentation
from hvnas.train.batches import test_batches
from hvnas.train.data.registry import Data
from hvnas.train.data.splits import Batch, Split

TEST_BATCH = 256


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


@torch.no_grad()
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
    model.eval()
    right, seen = 0, 0
    for batch in test_batches(split, size=TEST_BATCH):
        if len(batch.labels):
            images, labels = to_tensors(batch, data, device=device)
            with precision or nullcontext():
                right += int((model(images).argmax(1) == labels).sum())
            seen += len(labels)
    return 100.0 * right / max(1, seen)
