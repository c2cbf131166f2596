"""Top-1 of members with inherited weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor

from hvnas.arch import Arch
from hvnas.supernet.statistics import recalibrate
from hvnas.supernet.supernet import Supernet
from hvnas.train.data.registry import Data
from hvnas.train.data.splits import Split
from hvnas.train.evaluation import to_tensors, top1_of

BN_CALIB = 512
CALIBRATION_BATCH = 64
_CALIBRATION_SEED = 0


def calibration_batches(data: Data, count: int, *, device: torch.device) -> Iterator[Tensor]:
    """`count` training images, the same ones in every call, not augmented, in batches of 64 or fewer."""
    order = np.random.default_rng(_CALIBRATION_SEED).permutation(len(data.train))[:count]
    for part in np.array_split(order, -(-len(order) // CALIBRATION_BATCH)):
        batch = data.train.batch(part)
        if len(batch.labels):
            yield to_tensors(batch, data, device=device)[0]


def check_bn_calib(count: int) -> None:
    """Raise ValueError where `count` is no number of images to calibrate with."""
    if count < 0 or count == 1:
        raise ValueError(
            f"bn_calib: must be 0 or >= 2, got {count}; it is the number of training images that BatchNorm's "
            "statistics are recomputed from, and 0 leaves them as they are"
        )


def inherited_top1(
    net: Supernet,
    arch: Arch,
    data: Data,
    *,
    bn_calib: int = BN_CALIB,
    split: Split | None = None,
    precision: AbstractContextManager[object] | None = None,
) -> float:
    """Top-1, in points, of the member `arch` with the weights of `net` as they are.

    BatchNorm's statistics are recomputed before from `bn_calib` training images, and put back afterwards;
    with 0 they are those that the members trained last have left. `split` is the validation split unless
    given. `arch` is the active member afterwards. Raises ValueError where `arch` is outside the space.
    """
    net.set(arch)
    with statistics_kept(net):
        if bn_calib:
            recalibrate(net, calibration_batches(data, bn_calib, device=net.device))
        return top1_of(
            net, data.val if split is None else split, data, device=net.device, precision=precision
        )


@contextmanager
def statistics_kept(net: Supernet) -> Iterator[None]:
    """Members share the statistics: what one is evaluated with is not to be seen by others."""
    before = [buffer.clone() for buffer in net.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(net.buffers(), before, strict=True):
            buffer.copy_(value)
