"""EfficientFormerV2 (2212.08059): the unified FFN, attention on maps, and attention downsampling.

Nothing here has a LayerNorm: every convolution has bias and BatchNorm. Figures and code agree on the
structure; details follow the authors' code, which reproduces the exact parameter counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.attention import softmax_attention
from hvnas.blocks.base import Block, register_block, require_odd, require_width
from hvnas.ops import Lowered, State, Tape, Value


def conv_norm(
    tape: Tape, x: Value, out: int, *, kernel: int = 1, stride: int = 1, depthwise: bool = False
) -> Value:
    """A convolution with bias, then BatchNorm."""
    groups = out if depthwise else 1
    y = tape.conv(x, out, kernel=kernel, stride=stride, groups=groups, bias=True)
    return tape.norm(y, "bn")


def unified_ffn(tape: Tape, x: Value, *, expand: float, kernel: int, act: str) -> Value:
    """``x + s FFN(x)``, FFN: 1x1, depthwise and 1x1 convolution, activation between."""
    out = x.shape[0]
    hidden = int(out * expand)
    y = tape.act(conv_norm(tape, x, hidden), act)
    y = tape.act(conv_norm(tape, y, hidden, kernel=kernel, depthwise=True), act)
    return tape.add(x, tape.scale(conv_norm(tape, y, out), out))


@register_block("unified_ffn")
@dataclass(frozen=True, kw_only=True)
class UnifiedFFN(Block):
    """EfficientFormerV2's local block (2212.08059 section 3): token and channel mixing in one FFN.

    ``x += s FFN(x)`` with FFN: 1x1 to ``expand * out`` channels, `kernel` x `kernel` depthwise, 1x1
    back, each with bias and BatchNorm, GELU after the first two.
    """

    expand: float = 4
    kernel: int = 3
    act: str = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_odd("kernel", self.kernel)

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        require_width(x, self.out)
        y = unified_ffn(tape, x, expand=self.expand, kernel=self.kernel, act=self.act)
        return tape.finish(map=y)


@register_block("attn4d")
@dataclass(frozen=True, kw_only=True)
class Attn4D(Block):
    """EfficientFormerV2's global block (2212.08059 section 3 and Table 1): attention on a map, unified FFN.

    ``x += s1 Attn(x)``, then the FFN of `unified_ffn`. Attention has `heads` heads with keys of
    `key_dim` and values of ``attn_ratio * key_dim`` channels whatever the width; a learned bias per
    head and absolute offset; talking heads, 1x1 convolutions over the heads before and after the
    softmax; and locality, a depthwise convolution of v that is added to the result. `attn_stride` 2
    is stride attention: a depthwise convolution shrinks the map that attends, and the result is
    resized bilinearly to the full map before the activation and the output projection.
    """

    expand: float = 4
    heads: int = 8
    key_dim: int = 32
    attn_ratio: int = 4
    attn_stride: int = 1
    kernel: int = 3
    act: str = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_odd("kernel", self.kernel)

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        require_width(x, self.out)
        y = x
        if self.attn_stride > 1:
            y = conv_norm(tape, y, self.out, kernel=3, stride=self.attn_stride, depthwise=True)
        y = self._attend(tape, y)
        if self.attn_stride > 1:
            y = tape.resize(y, x.shape[1], x.shape[2])
        y = conv_norm(tape, tape.act(y, self.act), self.out)
        x = tape.add(x, tape.scale(y, self.out))
        y = unified_ffn(tape, x, expand=self.expand, kernel=self.kernel, act=self.act)
        return tape.finish(map=y)

    def _attend(self, tape: Tape, x: Value) -> Value:
        heads, value = self.heads, self.attn_ratio * self.key_dim
        _, height, width = x.shape
        n = height * width
        q = conv_norm(tape, x, heads * self.key_dim)
        k = conv_norm(tape, x, heads * self.key_dim)
        v = conv_norm(tape, x, heads * value)
        local = conv_norm(tape, v, heads * value, kernel=self.kernel, depthwise=True)
        scores = tape.matmul(tape.view(q, (heads, n, self.key_dim)), tape.view(k, (heads, self.key_dim, n)))
        scores = tape.conv(tape.bias(scores, heads * n), heads, bias=True)
        weights = tape.conv(tape.softmax(scores), heads, bias=True)
        y = tape.matmul(weights, tape.view(v, (heads, n, value)))
        return tape.add(tape.view(y, local.shape), local)


@register_block("attn_down", role="downsample")
@dataclass(frozen=True, kw_only=True)
class AttnDown(Block):
    """EfficientFormerV2's attention downsampling (2212.08059 section 3), between its last two stages.

    A 3x3 stride-2 convolution with BatchNorm plus attention from the halved map to the full one: q is
    a 1x1 of a stride-2 depthwise convolution plus every second position of the input, k and v are
    1x1s of the input, locality is a stride-2 depthwise convolution of v; a learned bias per head and
    absolute offset, as many as the full map has positions.
    """

    heads: int = 8
    key_dim: int = 16
    attn_ratio: int = 4
    kernel: int = 3
    act: str = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_odd("kernel", self.kernel)

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        y = conv_norm(tape, tape.act(self._attend(tape, x), self.act), self.out)
        return tape.finish(map=tape.add(y, conv_norm(tape, x, self.out, kernel=3, stride=2)))

    def _attend(self, tape: Tape, x: Value) -> Value:
        heads, value = self.heads, self.attn_ratio * self.key_dim
        channels, height, width = x.shape
        n = height * width
        near = tape.conv(x, channels, kernel=3, stride=2, groups=channels, bias=True)
        q = conv_norm(tape, tape.add(near, tape.pool(x, "avg", kernel=1, stride=2)), heads * self.key_dim)
        k = conv_norm(tape, x, heads * self.key_dim)
        v = conv_norm(tape, x, heads * value)
        local = conv_norm(tape, v, heads * value, kernel=self.kernel, stride=2, depthwise=True)
        y = softmax_attention(
            tape,
            tape.view(q, (heads, q.shape[1] * q.shape[2], self.key_dim)),
            tape.view(k, (heads, self.key_dim, n)),
            tape.view(v, (heads, n, value)),
            bias=heads * n,
        )
        return tape.add(tape.view(y, local.shape), local)
