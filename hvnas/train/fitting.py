"""An architecture for the classes and the resolution of a data set, with dropout before its classifiers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from hvnas.arch import Arch
from hvnas.blocks import Block
from hvnas.nn import Network
from hvnas.ops import Op
from hvnas.train.data.registry import LARGEST, Data
from hvnas.train.evaluation import Plan


def fit_arch(arch: Arch, data: Data) -> Arch:
    """`arch` with the classes and at the resolution of `data`.

    Raises ValueError, one line, where that resolution is too small: a block would have to halve a map of
    1 x 1, so that its stage would work at no scale of its own, or the network cannot be built at all.
    """
    fitted = arch.with_(classes=data.classes, resolution=data.resolution)
    problem = _problem(fitted)
    if problem is None:
        return fitted
    larger = least_resolution(arch, data)
    cure = f"use a resolution of {larger}" if larger else "choose another network"
    raise ValueError(f"{arch.name}: at {data.resolution} px {problem}; {cure}")


def least_resolution(arch: Arch, data: Data) -> int | None:
    """The smallest resolution, doubling that of `data`, at which `arch` fits; None where there is none."""
    resolution = data.resolution
    while resolution <= LARGEST:
        if _problem(arch.with_(classes=data.classes, resolution=resolution)) is None:
            return resolution
        resolution *= 2
    return None


def check_enough(batch: int, data: Data) -> None:
    """Raise ValueError where a batch that is asked for is more than all training images."""
    if batch > len(data.train):
        raise ValueError(
            f"batch: {batch} images a step, but there are {len(data.train)} to train on; give at most as many"
        )


def check_batch(batch: int, data: Data, *, workers: int, archs: Iterable[Arch]) -> None:
    """Raise ValueError where a process gets one image a step and one of `archs` cannot be trained on that.

    BatchNorm takes mean and spread over a batch's images and positions: of a single value there is no spread.
    """
    images = Plan(count=len(data.train), batch=batch, seed=0, workers=workers).least
    alone = next(filter(None, map(_normalises_one_value, archs)), None) if images < 2 else None
    if alone is None:
        return
    if len(data.train) < 2 * workers:
        cure = f"train on {2 * workers} images or more"
    else:
        cure = f"give a batch of {2 * workers} or more"
    each = "one image a step and worker" if workers > 1 else "one image a step"
    raise ValueError(
        f"batch: {each}, but {alone} has BatchNorm on a map of 1 x 1, which needs two; {cure}, or a larger "
        "resolution"
    )


def _normalises_one_value(arch: Arch) -> str | None:
    """The first part whose BatchNorm has one value a channel and image; None where there is none."""
    program = arch.lower()
    pairs = zip(program.ops, program.labels, strict=True)
    return next((label for op, label in pairs if op.variant == "bn" and _positions(op) == 1), None)


def _positions(op: Op) -> int:
    """Values that an op writes for each channel of an image: of a map ``(C, H, W)``, of tokens ``(N, D)``."""
    shape = op.shape_out
    return prod(shape[1:]) if len(shape) == 3 else prod(shape[:-1])


def check_sizes(model: nn.Module, sizes: Sequence[int], *, device: torch.device) -> None:
    """Raise ValueError where `model` does not take images of one of these sides in pixels."""
    before = model.training
    model.eval()
    try:
        for size in sizes:
            _try_size(model, size, device)
    finally:
        model.train(before)


def _try_size(model: nn.Module, size: int, device: torch.device) -> None:
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size, device=device))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"training.scales: the network does not take {size} px ({reason}); train at one resolution: "
            "--single-scale, or leave scales out of the recipe"
        ) from None


def _problem(arch: Arch) -> str | None:
    """What is wrong with `arch` at its resolution; None where all its stages have a scale of their own."""
    try:
        for label, block, state in arch.states():
            sides = state.map[1:] if state.map is not None else state.grid
            if sides is not None and min(sides) <= 1 and _strides(block):
                stage = label.split(".")[1] if label.startswith("stages.") else label
                return f"{label} would halve a map of 1 x 1, and stage {stage} vanish"
    except ValueError as error:
        return str(error)
    return None


def _strides(block: Block) -> bool:
    usual = 2 if block.role == "downsample" else 1
    return (block.own_stride or usual) > 1


def drop_features(network: Network, rate: float) -> None:
    """Let the classifiers of `network` read what a dropout (1207.0580) of `rate` leaves, while it trains.

    Names of weights, and what the network computes in eval mode, stay. Raises ValueError where the head has
    no linear classifier.
    """
    if rate == 0.0:
        return
    classes = network.arch.head.out
    found = [
        module
        for name, module in network.head.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes and "hidden" not in name
    ]
    if not found:
        raise ValueError(
            f"training.head_dropout: the head {network.arch.head.type} has no linear classifier; set it to 0"
        )

    def dropped(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (F.dropout(inputs[0], rate, training=module.training), *inputs[1:])

    for classifier in found:
        classifier.register_forward_pre_hook(dropped)
