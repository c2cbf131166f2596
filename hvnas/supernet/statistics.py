"""BatchNorm statistics of one member."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hvnas.supernet.supernet import Supernet


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
