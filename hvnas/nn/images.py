"""What images a network takes, checked before its forward so that it is told in one sentence."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from hvnas.arch import Arch
from hvnas.arch.edits import misfit
from hvnas.blocks import Block, lower_block
from hvnas.nn.base import build_block
from hvnas.ops import State

Size = tuple[int, int]
REBUILD = "hvnas.build(arch, resolution={})"
_PLAIN = (bool, int, float, str, tuple, type(None))


def check_images(module: nn.Module, args: tuple[Any, ...], *, remake: str = REBUILD) -> None:
    """Raise ValueError where the network `module` does not take the images ``args[0]``; a forward pre-hook.

    `module.arch` says what it is built for: floating-point images ``[B, 3, R, R]``. Another size passes where
    nothing in the network depends on it; `remake` is how one for another size is made. What is compiled,
    exported or scripted is not checked.
    """
    if _is_checked(module, args):
        return
    problem = _problem(args[0], module) or _size_problem(args[0].shape[2:], module, remake)
    if problem is not None:
        raise ValueError(f"input: {problem}")


def check_any_size(module: nn.Module, args: tuple[Any, ...]) -> None:
    """As `check_images`, but for the size."""
    if not _is_checked(module, args) and (problem := _problem(args[0], module)) is not None:
        raise ValueError(f"input: {problem}")


def _is_checked(module: nn.Module, args: tuple[Any, ...]) -> bool:
    """Whether there is nothing to check, or nothing wrong at first sight."""
    if not args or torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return True
    x, side = args[0], module.arch.resolution  # type: ignore[union-attr]
    return isinstance(x, Tensor) and x.shape[1:] == (3, side, side) and x.dtype is torch.float32


def _problem(images: object, module: nn.Module) -> str | None:
    """What is wrong with the images whatever their size, and what to do."""
    arch: Arch = module.arch  # type: ignore[assignment]
    name, side = arch.name, arch.resolution
    wanted = f"{name} takes images [batch, 3, {side}, {side}]"
    if not isinstance(images, Tensor):
        return f"{wanted} as a tensor, got {type(images).__name__}; make one with torch.as_tensor"
    given = list(images.shape)
    if images.dim() != 4:
        cure = "add the batch with x.unsqueeze(0)" if images.dim() == 3 else "give a batch of images"
        return f"{wanted}, got {given}; {cure}"
    channels = images.shape[1]
    if channels not in (3, _channels(module)):
        cure = "convert the images to RGB"
        if channels == 1:
            cure += ", or repeat the one channel with x.expand(-1, 3, -1, -1)"
        elif images.shape[3] == 3:
            cure = "put the channels first with x.permute(0, 3, 1, 2)"
        return f"{wanted}, got {given}, which has {channels} channel{'s' * (channels != 1)}; {cure}"
    kind = str(images.dtype).removeprefix("torch.")
    if not images.is_floating_point():
        return f"{wanted} of floating-point numbers, got {kind}; convert them as in training, x.float() / 255"
    weights = next(module.parameters()).dtype
    if images.dtype != weights and not torch.is_autocast_enabled(images.device.type):
        own = str(weights).removeprefix("torch.")
        return f"{wanted} of {own}, got {kind}; convert them with x.to({weights})"
    return None


def _size_problem(given: torch.Size, module: nn.Module, remake: str) -> str | None:
    """What is wrong with the size of the images, and what to do."""
    arch: Arch = module.arch  # type: ignore[assignment]
    side, size = arch.resolution, (given[0], given[1])
    if size == (side, side) or (reason := refusal(arch, size)) is None:
        return None
    cure = f"resize the images to {side} x {side}"
    if size[0] == size[1] and misfit(arch.with_(resolution=size[0])) is None:
        cure += f", or make a network for theirs: {remake.format(size[0])}"
    return f"{arch.name} is built for images of {side} x {side}, got {size[0]} x {size[1]} ({reason}); {cure}"


def _channels(module: nn.Module) -> int | None:
    """The channels that the first convolution reads: a stem of one's own may take others than three."""
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    return None if first is None else first.in_channels


@lru_cache(maxsize=1024)
def refusal(arch: Arch, size: Size) -> str | None:
    """Why a network built from `arch` does not take images of `size`; None where it does.

    It takes them where each of its modules is the one that would be built for that size.
    """
    state = State(map=(3, *size))
    for label, block, built in arch.states():
        part = f"{label} ({block.type})"
        try:
            if state != built and _made(block, state) != _made(block, built):
                return f"{part} depends on the size"
            state = lower_block(block, state).state
        except ValueError as error:
            return f"{part}: {error}"
    return None


@lru_cache(maxsize=4096)
def _made(block: Block, state: State) -> tuple[Any, ...]:
    """What makes the block's module for `state` differ from another: kinds, settings, shapes of tensors."""
    with torch.device("meta"):
        module = build_block(block, state)
    parts = [(name, type(part), _settings(part)) for name, part in module.named_modules()]
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return (*parts, *((name, tuple(tensor.shape)) for name, tensor in tensors))


def _settings(module: nn.Module) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (name, value)
        for name, value in vars(module).items()
        if isinstance(value, _PLAIN) and not name.startswith("_")
    )
