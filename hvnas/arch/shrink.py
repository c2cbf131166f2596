"""Small networks of the same structure, cheap enough to build and run in a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

from hvnas.arch.arch import Arch, Run, Stage
from hvnas.blocks import Block

BY = 8  # how much narrower
MOST_BLOCKS = 2
MOST_CLASSES = 10
STEPS = (8, 16, 32, 64, 128, 256)
WIDTHS = frozenset({"out", "dim", "hidden", "channels"})  # fields that hold a number of channels
DEPTHS = frozenset({"layers"})

Narrow = Callable[[int], int]


def shrink(arch: Arch) -> Arch:
    """`arch` with the same blocks in the same order, narrower and shallower, for 10 classes at most.

    Every width, the global tokens' and those inside blocks among them, becomes an eighth, rounded up to
    a multiple of 8 or of the next power of two at which the network can be built: what a block divides
    by (head dimension, groups) stays as it is. Runs keep their first two blocks. The resolution stays.
    Raises ValueError, as `Arch.lower` does, where no multiple up to 256 fits.
    """
    for step in STEPS:
        try:
            small = _shrink(arch, partial(_narrowed, step))
            small.lower()
            return small
        except ValueError as error:
            reason = error
    raise reason


def _narrowed(step: int, width: int) -> int:
    """An eighth of `width`, rounded up to a multiple of `step`."""
    return -(-width // (BY * step)) * step


def _shrink(arch: Arch, narrow: Narrow) -> Arch:
    head = _block(arch.head, narrow)
    return replace(
        arch,
        name=f"{arch.name}_shrunk",
        stem=_block(arch.stem, narrow),
        stages=tuple(_stage(stage, narrow) for stage in arch.stages),
        head=replace(head, out=min(arch.head.out, MOST_CLASSES)),
        tokens=(arch.tokens[0], narrow(arch.tokens[1])) if arch.tokens else None,
        published=None,
        found=None,
    )


def _stage(stage: Stage, narrow: Narrow) -> Stage:
    down = stage.downsample
    return Stage(
        downsample=_block(down, narrow) if isinstance(down, Block) else down,
        local=_run(stage.local, narrow),
        global_=_run(stage.global_, narrow),
    )


def _run(run: Run | None, narrow: Narrow) -> Run | None:
    if run is None:
        return None
    depth = min(run.depth, MOST_BLOCKS)
    vary = tuple((name, tuple(_value(name, v, narrow) for v in values[:depth])) for name, values in run.vary)
    return Run(block=_block(run.block, narrow), depth=depth, vary=vary)


def _block(block: Block, narrow: Narrow) -> Block:
    values = {field.name: getattr(block, field.name) for field in fields(block)}
    return replace(block, **{name: _value(name, value, narrow) for name, value in values.items()})


def _value(name: str, value: Any, narrow: Narrow) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if name in WIDTHS:
        return narrow(value)
    return min(value, MOST_BLOCKS) if name in DEPTHS else value
