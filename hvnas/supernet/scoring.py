"""Scores of members with inherited weights, after their BatchNorm statistics are made anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hvnas.arch import Arch
from hvnas.supernet.supernet import Supernet
from hvnas.supernet.weights.slots import Sliced
from hvnas.train.data.registry import Data
from hvnas.train.data.splits import Split
from hvnas.train.evaluation import TEST_BATCH, Scores, counted, scores_of, test_batches, to_tensors

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


def member_scores(
    net: Supernet,
    arch: Arch,
    data: Data,
    *,
    bn_calib: int = BN_CALIB,
    split: Split | None = None,
    precision: AbstractContextManager[object] | None = None,
) -> Scores:
    """Scores of the member `arch` with the weights of `net` as they are.

    BatchNorm's statistics are recomputed before from `bn_calib` training images, and put back afterwards;
    with 0 they are those that the members trained last have left. `split` is the validation split unless
    given. `arch` is the active member afterwards. Raises ValueError where `arch` is outside the space.
    """
    net.set(arch)
    with statistics_kept(net):
        if bn_calib:
            recalibrate(net, calibration_batches(data, bn_calib, device=net.device))
        held = data.val if split is None else split
        return scores_of(net, held, data, device=net.device, precision=precision)


class _Features(NamedTuple):
    """What comes out of a part of a member: for the images that calibrate, and for those that are scored."""

    calibration: list[Any]
    scored: list[Any]


@torch.no_grad()
def inherited_scores(
    net: Supernet,
    archs: Sequence[Arch],
    data: Data,
    *,
    bn_calib: int = BN_CALIB,
    split: Split | None = None,
) -> Iterator[tuple[int, Scores]]:
    """Yield places in `archs` and scores with inherited weights, as `member_scores` for each of them.

    Members that begin with the same blocks share what these make of the images, statistics included: of the
    6,561 members of eight layers with three choices each, 9,840 layers are computed instead of 52,488. So
    members come in the order of their blocks, not in that of `archs`. What each layer of one member makes of
    all images is held in memory. The statistics are put back in the end. Raises ValueError where a member is
    outside the space.
    """
    held = data.val if split is None else split
    device = net.device
    batches = [to_tensors(batch, data, device=device) for batch in test_batches(held, size=TEST_BATCH)]
    calibration = list(calibration_batches(data, bn_calib, device=device)) if bn_calib else []
    images = _Features(calibration, [images for images, labels in batches if len(labels)])
    labels = [labels for _, labels in batches if len(labels)]
    blocks = [[repr(part) for part in net.fitted(arch).states()] for arch in archs]
    known: list[tuple[tuple[str, str], _Features]] = []
    net.eval()
    with statistics_kept(net):
        for place in sorted(range(len(archs)), key=blocks.__getitem__):
            net.set(archs[place])
            own = [(part.name, block) for part, block in zip(net.active, blocks[place], strict=True)]
            del known[_alike([name for name, _ in known], own) :]
            for name, part in zip(own[len(known) :], net.active[len(known) :], strict=True):
                known.append((name, _through(part, known[-1][1] if known else images)))
            outputs = zip(known[-1][1].scored, labels, strict=True)
            yield place, counted(outputs, classes=data.classes)


def _alike(a: Sequence[object], b: Sequence[object]) -> int:
    """How many entries two sequences begin with alike."""
    alike = (x == y for x, y in zip(a, b, strict=False))
    return next((i for i, same in enumerate(alike) if not same), min(len(a), len(b)))


def _through(part: Sliced, before: _Features) -> _Features:
    """What a part makes of features, its statistics made anew before where there is what to make them of."""
    calibration = []
    if before.calibration:
        with part.plugged() as module:
            norms = _reset(module)
        with _averaging(norms):
            calibration = [part(x) for x in before.calibration]
    return _Features(calibration, [part(x) for x in before.scored])


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
    with torch.no_grad(), _averaging(_norms_of(model)):
        for x_BCHW in batches:
            model(x_BCHW)
            used += 1
    model.train(was_training)
    if not used:
        raise ValueError("batches: there must be at least one to take statistics of")


def _norms_of(model: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers of a model, of a `Supernet` those of the active member, each reset."""
    if not isinstance(model, Supernet):
        return _reset(model)
    norms: list[_BatchNorm] = []
    for part in model.active:
        with part.plugged() as module:
            norms += _reset(module)
    return list(dict.fromkeys(norms))  # one module can stand in several places


@contextmanager
def _averaging(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """BatchNorm layers in training, with cumulative averages."""
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
