"""Top-1 of members with inherited weights, after their BatchNorm statistics are made anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hvnas.arch import Arch
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


def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Recompute the BatchNorm statistics of `model` from images, in place.

    Means and variances become the plain averages over `batches`, tensors ``[B, 3, R, R]`` on the model's
    device; of a `Supernet` those of the active member, whose slices other members then see. All other layers
    work as in eval. Raises ValueError where there is no batch.
    """
    was_training = model.training
    model.eval()
    used = 0
    with torch.no_grad(), _averaging(model):
        for x_BCHW in batches:
            model(x_BCHW)
            used += 1
    model.train(was_training)
    if not used:
        raise ValueError("batches: there must be at least one to take statistics of")


@contextmanager
def _averaging(model: nn.Module) -> Iterator[None]:
    """BatchNorm layers reset and in training, with cumulative averages."""
    norms: list[_BatchNorm] = []
    if isinstance(model, Supernet):
        for part in model.active:
            with part.plugged() as module:
                norms += _reset(module)
    else:
        norms = _reset(model)
    norms = list(dict.fromkeys(norms))  # one module can stand in several places
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


def _reset(module: nn.Module) -> list[_BatchNorm]:
    parts = (part for part in module.modules() if isinstance(part, _BatchNorm))
    norms = [part for part in parts if part.track_running_stats]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
    return norms
