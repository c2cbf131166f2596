"""MetaFormer blocks with pooling: EfficientFormer's MB4D and PoolFormer's block."""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.base import Block, register_block
from hvnas.ops import Lowered, State, Tape, Value


def require_width(x: Value, out: int) -> None:
    """Raise ValueError where a residual block is asked to change the width."""
    channels = x.shape[0] if len(x.shape) == 3 else x.shape[-1]
    if channels != out:
        raise ValueError(
            f"this block keeps its width: {channels} channels arrive, out is {out}; make them equal"
        )


@register_block("mb4d")
@dataclass(frozen=True, kw_only=True)
class MB4D(Block):
    """EfficientFormer's 4D block (2206.01191 section 4; the authors' Meta4D).

    ``x += s1 (AvgPool(x) - x)`` with no norm before the pool (count_include_pad off), then
    ``x += s2 MLP(x)``, the MLP two 1x1 convolutions with bias, each with BatchNorm, GELU between.
    """

    expand: float = 4
    pool: int = 3
    act: str = "gelu"

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        require_width(x, self.out)
        mixed = tape.add(tape.pool(x, "avg", kernel=self.pool), x)
        x = tape.add(x, tape.scale(mixed, self.out))
        y = tape.act(tape.norm(tape.conv(x, int(self.out * self.expand), bias=True), "bn"), self.act)
        y = tape.norm(tape.conv(y, self.out, bias=True), "bn")
        return tape.finish(map=tape.add(x, tape.scale(y, self.out)))


@register_block("poolformer")
@dataclass(frozen=True, kw_only=True)
class PoolFormer(Block):
    """PoolFormer's block (2111.11418 section 3 and Table 1).

    ``x += s1 (Pool(GN(x)) - GN(x))``; ``x += s2 MLP(GN(x))`` with GroupNorm of one group, eps 1e-5,
    and an MLP of two 1x1 convolutions with bias, GELU between.
    """

    expand: float = 4
    pool: int = 3
    act: str = "gelu"
    norm: str = "gn"

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        require_width(x, self.out)
        y = tape.norm(x, self.norm)
        mixed = tape.add(tape.pool(y, "avg", kernel=self.pool), y)
        x = tape.add(x, tape.scale(mixed, self.out))
        y = tape.conv(tape.norm(x, self.norm), int(self.out * self.expand), bias=True)
        y = tape.conv(tape.act(y, self.act), self.out, bias=True)
        return tape.finish(map=tape.add(x, tape.scale(y, self.out)))
