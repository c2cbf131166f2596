"""Small networks of the same structure, cheap enough to build and run in a test."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from hvnas.arch.arch import Arch
from hvnas.arch.transform import WIDTHS, transformed

BY = 8  # how much narrower
MOST_BLOCKS = 2
MOST_CLASSES = 10
STEPS = (8, 16, 32, 64, 128, 256)
DEPTHS = frozenset({"layers"})


def shrink(arch: Arch) -> Arch:
    """`arch` with the same blocks in the same order, narrower and shallower, for 10 classes at most.

    Every width, the global tokens' and those inside blocks among them, becomes an eighth, rounded up to
    a multiple of 8 or of the next power of two at which the network can be built: what a block divides
    by (head dimension, groups) stays as it is. Runs keep their first two blocks. The resolution stays.
    Raises ValueError, as `Arch.lower` does, where no multiple up to 256 fits.
    """
    for step in STEPS:
        try:
            small = _shrink(arch, step)
            small.lower()
            return small
        except ValueError as error:
            reason = error
    raise reason


def _narrowed(step: int, width: int) -> int:
    """An eighth of `width`, rounded up to a multiple of `step`."""
    return -(-width // (BY * step)) * step


def _shrink(arch: Arch, step: int) -> Arch:
    small = transformed(arch, values=partial(_value, step), depths=lambda _, depth: min(depth, MOST_BLOCKS))
    tokens = (arch.tokens[0], _narrowed(step, arch.tokens[1])) if arch.tokens else None
    head = replace(small.head, out=min(arch.head.out, MOST_CLASSES))
    return replace(small, name=f"{arch.name}_shrunk", head=head, tokens=tokens)


def _value(step: int, name: str, value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if name in WIDTHS:
        return _narrowed(step, value)
    return min(value, MOST_BLOCKS) if name in DEPTHS else value
