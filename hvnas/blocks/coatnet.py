"""CoAtNet (2106.04803): pre-activation MBConv and the relative-attention transformer block."""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.attention import softmax_attention
from hvnas.blocks.base import Block, divided, register_block
from hvnas.ops import Lowered, State, Tape, Value


def squeeze_excite(tape: Tape, x: Value, reduced: int, *, act: str = "silu", gate: str = "sigmoid") -> Value:
    """Channel gate from the mean over positions: 1x1 to `reduced`, activation, 1x1 back, sigmoid."""
    y = tape.act(tape.conv(tape.mean(x), reduced, bias=True), act)
    y = tape.act(tape.conv(y, x.shape[0], bias=True), gate)
    return tape.mul(x, y)


def pool_shortcut(tape: Tape, x: Value, out: int, *, pool: str, stride: int) -> Value:
    """The identity branch where size or width changes: 2x2 pooling, then 1x1 with bias if widths differ."""
    if stride > 1:
        x = tape.pool(x, pool, kernel=stride, stride=stride, padding=0)
    return x if x.shape[0] == out else tape.conv(x, out, bias=True)


def check_even(x: Value, stride: int) -> None:
    """Raise ValueError where the two branches of a strided block would differ in size."""
    if stride > 1 and (x.shape[1] % stride or x.shape[2] % stride):
        raise ValueError(
            f"a block of stride {stride} needs a map divisible by it, got {x.shape[1]} x {x.shape[2]}; "
            "use a resolution divisible by 32"
        )


@register_block("coat_mbconv")
@dataclass(frozen=True, kw_only=True)
class CoatMBConv(Block):
    """CoAtNet's pre-activation MBConv with squeeze-excitation.

    ``x <- Proj(Pool(x)) + Conv(SE(DepthConv(Conv(Norm(x)))))`` (Appendix A.1, Equation 5).
    `stride_in` expand: stride in the first 1x1 (the paper's default, with max pooling on the
    shortcut); depthwise: "Strided DConv" of Table 9 (timm's default, with average pooling).
    Inner width is ``expand * out``, SE's ``se * out``, biases on the last 1x1, shortcut and SE only:
    of the readings the paper allows, the one that reproduces its printed counts.
    """

    stride: int = 1
    expand: float = 4
    kernel: int = 3
    se: float = 0.25
    stride_in: str = "expand"
    pool: str = "max"
    act: str = "gelu"

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        check_even(x, self.stride)
        mid = int(self.out * self.expand)
        first, second = (self.stride, 1) if self.stride_in == "expand" else (1, self.stride)
        shortcut = pool_shortcut(tape, x, self.out, pool=self.pool, stride=self.stride)
        y = tape.conv(tape.norm(x, "bn"), mid, stride=first)
        y = tape.act(tape.norm(y, "bn"), self.act)
        y = tape.conv(y, mid, kernel=self.kernel, stride=second, groups=mid)
        y = tape.act(tape.norm(y, "bn"), self.act)
        if self.se:
            y = squeeze_excite(tape, y, max(1, int(self.se * self.out)))
        y = tape.conv(y, self.out, bias=True)
        return tape.finish(map=tape.add(shortcut, y))


@register_block("coat_transformer")
@dataclass(frozen=True, kw_only=True)
class CoatTransformer(Block):
    """CoAtNet's transformer block on a map, with relative attention.

    ``x <- Proj(Pool(x)) + Attention(Pool(Norm(x)))`` then ``x += FFN(Norm(x))`` (Appendix A.1,
    Equation 4). Attention has ``out / head_dim`` heads and, before the softmax, a learned bias for
    every head and relative offset: (2H-1)(2W-1) entries each (Equation 3, "pre").
    """

    stride: int = 1
    expand: float = 4
    head_dim: int = 32
    pool: str = "max"
    act: str = "gelu"

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        check_even(x, self.stride)
        heads = divided(self.out, self.head_dim, what="head_dim")
        shortcut = pool_shortcut(tape, x, self.out, pool=self.pool, stride=self.stride)
        y = tape.norm(x, "ln")
        if self.stride > 1:
            y = tape.pool(y, self.pool, kernel=self.stride, stride=self.stride, padding=0)
        x = tape.add(shortcut, self._attention(tape, y, heads))
        y = tape.conv(tape.norm(x, "ln"), int(self.out * self.expand), bias=True)
        y = tape.conv(tape.act(y, self.act), self.out, bias=True)
        return tape.finish(map=tape.add(x, y))

    def _attention(self, tape: Tape, x: Value, heads: int) -> Value:
        height, width = x.shape[1:]
        n = height * width
        qkv = tape.conv(x, 3 * self.out, bias=True)
        y = softmax_attention(
            tape,
            tape.view(qkv, (heads, n, self.head_dim)),
            tape.view(qkv, (heads, self.head_dim, n)),
            tape.view(qkv, (heads, n, self.head_dim)),
            bias=heads * (2 * height - 1) * (2 * width - 1),
        )
        return tape.conv(tape.view(y, (self.out, height, width)), self.out, bias=True)
