"""A network run block by block, each block cut off from the gradients of the others.

Shapes: B batch, C channels, P positions (of a map, or tokens).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.accuracy.proxies.subject import Subject

# Called with what a block is given and what it returns: a map or tokens each.
Visit = Callable[[Tensor, Tensor], None]


@contextmanager
def visiting(blocks: tuple[nn.Module, ...], visit: Visit, *, gradients: bool = False) -> Iterator[None]:
    """A context in which `visit(x, y)` is called whenever a block has run.

    Of a pair of map and global tokens, x and y are the maps. With `gradients`, y depends on x and on
    nothing before it.
    """
    with ExitStack() as stack:
        for block in blocks:
            seen: list[Tensor] = []
            stack.callback(block.register_forward_pre_hook(_entering(seen, gradients)).remove)
            stack.callback(block.register_forward_hook(_leaving(seen, visit)).remove)
        yield


def _entering(seen: list[Tensor], gradients: bool) -> Callable[..., Any]:
    def enter(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        first, *rest = args
        x = _main(first).detach().requires_grad_(gradients)
        seen[:] = [x]
        # a copy: the block may begin with an operation in place, which a leaf cannot take
        given = x.clone()
        return ((given, *first[1:]) if isinstance(first, tuple) else given, *rest)

    return enter


def _leaving(seen: list[Tensor], visit: Visit) -> Callable[..., Any]:
    def leave(_: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        visit(seen[0], _main(out))
        return tuple(part.detach() for part in out) if isinstance(out, tuple) else out.detach()

    return leave


def _main(value: Tensor | tuple[Tensor, ...]) -> Tensor:
    return value[0] if isinstance(value, tuple) else value


def positions(x: Tensor) -> int:
    """Positions of a map ``[B, C, H, W]``, or tokens of ``[B, N, D]``."""
    return x.shape[2] * x.shape[3] if x.dim() == 4 else x.shape[1]


def as_rows(x: Tensor) -> Tensor:
    """A map or tokens as ``[B, P, C]``."""
    return x.flatten(2).transpose(1, 2) if x.dim() == 4 else x


def rows_like(x: Tensor, target: Tensor) -> Tensor | None:
    """`x` as ``[B, P, C']`` at the positions of `target`; None where the two do not correspond.

    Where `x` is finer by a whole stride s, each position of `target` holds the s x s positions of `x` that
    it covers side by side, zeros beyond the edge: C' = s² C. Tokens are the positions of a square map.
    """
    if positions(x) == positions(target):
        return as_rows(x)
    x_BCHW, side = _square(x), math.isqrt(positions(target))
    if x_BCHW is None or side**2 != positions(target) or side == 0:
        return None
    stride = math.ceil(x_BCHW.shape[2] / side)
    if stride < 2 or stride * side - x_BCHW.shape[2] >= stride:
        return None
    missing = stride * side - x_BCHW.shape[2]
    return as_rows(F.pixel_unshuffle(F.pad(x_BCHW, (0, missing, 0, missing)), stride))


def _square(x: Tensor) -> Tensor | None:
    """A square map of a map or of tokens; None where there is none."""
    if x.dim() == 4:
        return x if x.shape[2] == x.shape[3] else None
    side = math.isqrt(x.shape[1])
    return x.transpose(1, 2).unflatten(2, (side, side)) if side**2 == x.shape[1] else None


def run_blocks(subject: Subject, images: Tensor, visit: Visit, *, gradients: bool = False) -> None:
    """Run `images` through the network, batch norm on the batch's own statistics, and `visit` each block."""
    subject.model.train()
    with torch.set_grad_enabled(gradients), visiting(subject.blocks, visit, gradients=gradients):
        subject.model(images)
