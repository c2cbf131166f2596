"""An architecture for the classes and the resolution of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from hvnas.arch import Arch
from hvnas.blocks import Block
from hvnas.train.data.registry import Data

LARGEST = 4096


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
    except (RuntimeError, AssertionError) as error:
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
    stride: int = getattr(block, "stride", 2 if block.role == "downsample" else 1)
    return stride > 1
