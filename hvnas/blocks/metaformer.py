"""MetaFormer blocks: EfficientFormer's MB4D, and PoolFormer's block with the mixers of its ablation."""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.base import (
    Block,
    divided,
    option,
    register_block,
    require_choice,
    require_odd,
    require_width,
)
from hvnas.ops import Lowered, State, Tape, Value

MIXERS = ("pool", "identity", "random", "depthwise", "spatial_fc", "attention")
NORMS = ("gn", "ln", "bn", "none")


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

    def __post_init__(self) -> None:
        super().__post_init__()
        require_odd("pool", self.pool)

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
    """PoolFormer's block and the ablations of its mixer and norm (2111.11418 section 3, Tables 1 and 5).

    ``x += s1 Mixer(Norm(x))``; ``x += s2 MLP(Norm(x))``, the MLP two 1x1 convolutions with bias.

    `mixer`: pool is ``AvgPool(y) - y`` over `pool` x `pool` positions, border pixels averaged over
    what is there; identity is y itself; random multiplies the positions by a frozen matrix, the row
    softmax of numbers drawn from U[0, 1); depthwise is a `pool` x `pool` depthwise convolution with
    bias (the paper prints neither kernel nor bias: 3x3 as the pooling); spatial_fc is one linear
    layer over all positions, no bias; attention has ``out / head_dim`` heads, q, k, v without bias
    and an output projection with. The position map of the attention hybrids is part of the
    downsample before their first attention stage.

    `norm`: gn is GroupNorm with one group, the paper's choice; ln is over the channels of each
    position, which the attention hybrids use; both with eps 1e-5.

    ``expand: 0`` leaves the MLP out, `residual` off both sums: what the paper shows not to train.
    """

    expand: float = 4
    mixer: str = "pool"
    pool: int = 3
    head_dim: int = 32
    act: str = "gelu"
    norm: str = "gn"
    residual: bool = option(True)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("mixer", self.mixer, MIXERS)
        require_choice("norm", self.norm, NORMS)
        require_odd("pool", self.pool)

    @property
    def mixes_tokens(self) -> bool:
        """Whether the mixer leaves tokens, not a map."""
        return self.mixer in ("random", "spatial_fc", "attention")

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        require_width(x, self.out)
        grid = (x.shape[1], x.shape[2])
        y = tape.scale(self._mix(tape, self._norm(tape, x)), self.out)
        x = self._join(tape, x, tape.unflatten(y, grid) if self.mixes_tokens else y)
        if not self.expand:
            return tape.finish(map=x)
        y = tape.conv(self._norm(tape, x), int(self.out * self.expand), bias=True)
        y = tape.conv(tape.act(y, self.act), self.out, bias=True)
        return tape.finish(map=self._join(tape, x, tape.scale(y, self.out)))

    def _join(self, tape: Tape, x: Value, y: Value) -> Value:
        return tape.add(x, y) if self.residual else y

    def _norm(self, tape: Tape, x: Value) -> Value:
        return x if self.norm == "none" else tape.norm(x, self.norm)

    def _mix(self, tape: Tape, x: Value) -> Value:
        if self.mixer == "pool":
            return tape.add(tape.pool(x, "avg", kernel=self.pool), x)
        if self.mixer == "depthwise":
            return tape.conv(x, self.out, kernel=self.pool, groups=self.out, bias=True)
        if self.mixer == "attention":
            return self._attend(tape, tape.flatten(x))
        return self._mix_positions(tape, x) if self.mixes_tokens else x

    def _mix_positions(self, tape: Tape, x: Value) -> Value:
        n = x.shape[1] * x.shape[2]
        rows = tape.emit("relayout", x, (self.out, n), variant="map>tokens")
        if self.mixer == "random":
            rows = tape.view(rows, (1, self.out, n))
            mixed = tape.emit("matmul", rows, rows.shape)
        else:
            mixed = tape.linear(rows, n, bias=False)
        return tape.view(mixed, (n, self.out))

    def _attend(self, tape: Tape, x: Value) -> Value:
        from hvnas.blocks.attention import softmax_attention  # that file imports this one

        n, heads = x.shape[0], divided(self.out, self.head_dim, what="head_dim")
        qkv = tape.linear(x, 3 * self.out, bias=False)
        y = softmax_attention(
            tape,
            tape.view(qkv, (heads, n, self.head_dim)),
            tape.view(qkv, (heads, self.head_dim, n)),
            tape.view(qkv, (heads, n, self.head_dim)),
        )
        return tape.linear(tape.view(y, (n, self.out)), self.out)
