"""A block by itself and several times over: what is measured to tell its own time from the call's.

Where a block leaves the state that it is given, T_1 and T_N are measured of 1 and N copies in a row, each
with weights of its own. Where it does not (stems, downsamples, changes of width, heads) copies cannot
follow each other; then a *tail*, one linear layer on what the block leaves, is measured without the block
(depth 0) and behind it (depth 1). The time of one block is the same quotient in both cases,

    ms = (T_high - T_low) / (high - low),

without the call's overhead and without what the runtime does to the last output (in the second case what
it does to the input, such as copying it, stays in: the block's input differs from the tail's).

Copies have weights of their own so that caches are as cold as within a network. One copy alone may find its
weights cached from the run before, which makes the quotient too large by the gain over (N - 1): choose N
larger where blocks have many weights.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hvnas.blocks import Block, lower_block
from hvnas.nn.base import build_block, init_weights
from hvnas.ops import State


class BlockStack(nn.Module):
    """`depth` copies of a block; see `stack`. Takes and gives the state's tensors one by one.

    `inputs` names them with their shapes, batch 1: ``map`` ``[1, C, H, W]``, ``tokens`` ``[1, N, d]``.
    """

    def __init__(self, block: Block, state: State, *, depth: int) -> None:
        super().__init__()
        leaves = lower_block(block, state).state
        is_stackable = leaves == state
        lowest, highest = (1, depth) if is_stackable else (0, 1)
        if not lowest <= depth <= highest:
            raise ValueError(
                f"depth of a {block.type} on {state}: must be {_allowed(is_stackable)}, got {depth}"
            )
        self.inputs = _shapes(state if depth else leaves)
        self.blocks = nn.Sequential(*(build_block(block, state) for _ in range(depth)))
        self.tail = nn.Identity() if is_stackable else _Tail(leaves)
        init_weights(self)

    def forward(self, *tensors: Tensor) -> Any:
        return self.tail(self.blocks(tensors[0] if len(tensors) == 1 else tensors))


class _Tail(nn.Module):
    """One linear layer that keeps the shape of a map, or of tokens; tokens beside a map pass."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.linear: nn.Module
        if state.map is not None:
            self.linear = nn.Conv2d(state.map[0], state.map[0], 1)
        else:
            assert state.tokens is not None
            self.linear = nn.Linear(state.tokens[1], state.tokens[1])

    def forward(self, x: Any) -> Any:
        return (self.linear(x[0]), *x[1:]) if isinstance(x, tuple) else self.linear(x)


def stack(block: Block, state: State, *, depth: int) -> BlockStack:
    """`depth` copies of `block` behind each other, the first given `state`.

    A block that does not leave `state` has depth 0 or 1 and a tail, as above. Raises ValueError for
    another depth, and where the block cannot take `state`.
    """
    return BlockStack(block, state, depth=depth)


def _allowed(is_stackable: bool) -> str:
    return ">= 1" if is_stackable else "0 or 1, for it does not leave the state that it is given"


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    named = {"map": state.map, "tokens": state.tokens}
    return {name: (1, *shape) for name, shape in named.items() if shape is not None}
