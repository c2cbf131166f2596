"""Mobile-Former (2108.05895): a convolutional branch, a few global tokens beside it, and bridges.

Follows the authors' code (AAboys/MobileFormer), whose parameter counts equal the printed ones. Where
the paper's text and the code disagree the code's choice is the default of a field: Former attends with
keys and values that are the tokens themselves (`shared_kv`; the text says standard attention), and
Mobile->Former has a gate per token and channel (`gate`; the equation has none). Dynamic ReLU has slopes
only, no intercepts.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.attention import softmax_attention
from hvnas.blocks.base import Block, divided, register_block
from hvnas.ops import Lowered, State, Tape, Value

DYNAMIC = "dynamic_relu"
DOWNS = ("four_conv", "depthwise")
REDUCTION = 4  # of the token dimension inside the hyper-network of dynamic ReLU (hyper_reduction_ratio)


@register_block("global_tokens", role="tokens")
@dataclass(frozen=True, kw_only=True)
class GlobalTokens(Block):
    """`count` learned tokens of `out` channels that run beside the map from here on.

    An Arch with `tokens` has this part behind its stem.
    """

    count: int = 6

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        return tape.finish(map=tape.map, tokens=tape.embed((self.count, self.out)))


def to_former(tape: Tape, x: Value, z: Value, *, heads: int, gate: bool) -> Value:
    """Mobile->Former: ``z <- LN(z + Linear(a softmax(q x / sqrt(C / h)) x))``, q from the tokens.

    Keys and values are the map itself. The gate ``a = 2 hard_sigmoid(Linear(z))`` has a factor for
    every token and channel.
    """
    channels, height, width = x.shape
    n, count = height * width, z.shape[0]
    dim = divided(channels, heads, what="heads")
    y = softmax_attention(
        tape,
        tape.view(tape.linear(z, channels), (heads, count, dim)),
        tape.view(x, (heads, dim, n)),
        tape.view(x, (heads, n, dim)),
    )
    y = (
        tape.view(y, (count, channels))
        if count == 1
        else tape.emit("relayout", y, (count, channels), variant="map>tokens")
    )
    if gate:
        y = tape.mul(y, tape.act(tape.linear(z, channels), "hardsigmoid"))
    return tape.norm(tape.add(z, tape.linear(y, z.shape[1])), "ln")


def former(tape: Tape, z: Value, *, heads: int, expand: float, shared_kv: bool) -> Value:
    """Attention and a GELU FFN among the tokens, LayerNorm after each residual."""
    count, width = z.shape
    dim = divided(width, heads, what="former_heads")
    q = tape.linear(z, width)
    k, v = (z, z) if shared_kv else (tape.linear(z, width), tape.linear(z, width))
    y = softmax_attention(
        tape,
        tape.view(q, (heads, count, dim)),
        tape.view(k, (heads, dim, count)),
        tape.view(v, (heads, count, dim)),
    )
    z = tape.norm(tape.add(z, tape.linear(tape.view(y, (count, width)), width)), "ln")
    y = tape.linear(tape.act(tape.linear(z, int(width * expand)), "gelu"), width)
    return tape.norm(tape.add(z, y), "ln")


def from_former(tape: Tape, x: Value, z: Value, *, heads: int) -> Value:
    """Mobile<-Former: ``x += softmax(x k / sqrt(C / h)) v`` with k and v from the tokens."""
    channels, height, width = x.shape
    n, count = height * width, z.shape[0]
    dim = divided(channels, heads, what="heads")
    y = softmax_attention(
        tape,
        tape.view(x, (heads, n, dim)),
        tape.view(tape.linear(z, channels), (heads, dim, count)),
        tape.view(tape.linear(z, channels), (heads, count, dim)),
    )
    return tape.add(x, tape.emit("relayout", y, x.shape, variant="tokens>map"))


def activation(tape: Tape, x: Value, z: Value | None, act: str) -> Value:
    """`act`, or dynamic ReLU: ``max(a1 x, a2 x)`` per channel, both slopes from the first token.

    ``[a1, a2] = 2 hard_sigmoid(Linear(ReLU(Linear(z_1)))) - [0, 1]``, d -> d / 4 -> 2 C.
    """
    if act != DYNAMIC:
        return tape.act(x, act)
    assert z is not None
    channels, width = x.shape[0], z.shape[1]
    y = tape.act(tape.linear(tape.view(z, (1, width)), max(1, width // REDUCTION)), "relu")
    y = tape.act(tape.linear(y, 2 * channels), "hardsigmoid")
    slope = tape.view(y, (channels, 1, 1))
    return tape.maximum(tape.mul(x, slope), tape.mul(x, slope))


def depth_point(
    tape: Tape,
    x: Value,
    z: Value | None,
    *,
    mid: int,
    out: int,
    kernel: int,
    stride: int,
    groups: int,
    act: str,
) -> Value:
    """Depthwise to `mid` channels, BatchNorm, activation, 1x1 to `out`, BatchNorm."""
    y = tape.conv(x, mid, kernel=kernel, stride=stride, groups=x.shape[0])
    y = activation(tape, tape.norm(y, "bn"), z, act)
    return tape.norm(tape.conv(y, out, groups=groups), "bn")


@register_block("bneck_lite")
@dataclass(frozen=True, kw_only=True)
class BneckLite(Block):
    """Lite bottleneck, Mobile-Former's first block: depthwise that expands, ReLU6, 1x1.

    Depthwise to ``expand`` times the input's channels; residual where size and width stay and
    `shortcut`. With `groups` > 1 the channels are shuffled before the grouped 1x1. No tokens involved.
    """

    stride: int = 1
    expand: float = 2
    kernel: int = 3
    groups: int = 1
    shortcut: bool = True
    act: str = "relu6"

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        y = depth_point(
            tape,
            x,
            None,
            mid=int(x.shape[0] * self.expand),
            out=self.out,
            kernel=self.kernel,
            stride=self.stride,
            groups=self.groups,
            act=self.act,
        )
        return tape.finish(map=tape.add(x, y) if self.skips(x.shape[0]) else y)

    def skips(self, channels: int) -> bool:
        """Whether there is a residual around the block."""
        return self.shortcut and self.stride == 1 and channels == self.out


@register_block("mobileformer")
@dataclass(frozen=True, kw_only=True)
class MobileFormer(Block):
    """Mobile-Former's block: Mobile->Former, Former, Mobile, Mobile<-Former (2108.05895 section 3).

    The order is the code's: tokens read the block's input, Former runs, Mobile runs with dynamic ReLU
    from the first token, its output reads the tokens.

    Mobile at stride 1: 1x1 to ``expand`` times the *input's* channels, depthwise, 1x1 to `out`, each with
    BatchNorm, activation after the first two; residual where the width stays. At stride 2 `down` chooses:
    ``four_conv``, the authors' block, is depthwise (stride 2, to ``expand`` times the input) and 1x1, then
    depthwise (to ``expand2 * out``) and 1x1 with a residual around the latter two; ``depthwise`` puts the
    stride into the depthwise convolution of the three. `shortcut` switches the residual of either form.

    With `groups` > 1 (26M) the 1x1 convolutions are grouped and channels are shuffled: by `groups` after
    a 1x1 of the three-convolution form, by the input's channels after a depthwise convolution that expands.
    `to_former`, `former`, `from_former` and `act` switch the parts off for ablations; with all off the
    block is a plain inverted bottleneck, which runs with tokens or without.
    """

    stride: int = 1
    expand: float = 4
    expand2: float = 4
    kernel: int = 3
    groups: int = 1
    shortcut: bool = True
    down: str = "four_conv"
    act: str = DYNAMIC
    to_former: bool = True
    former: bool = True
    from_former: bool = True
    heads: int = 2
    former_heads: int = 4
    former_expand: float = 2
    shared_kv: bool = True
    gate: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.down not in DOWNS:
            raise ValueError(f"down must be one of {', '.join(DOWNS)}, got {self.down!r}")

    @property
    def two_branch(self) -> bool:
        """Whether any part reads the tokens."""
        return self.to_former or self.former or self.from_former or self.act == DYNAMIC

    @property
    def four_conv(self) -> bool:
        """Whether Mobile is the four-convolution downsampling form."""
        return self.stride > 1 and self.down == "four_conv"

    def skips(self, channels: int) -> bool:
        """Whether there is a residual around (or, with four convolutions, inside) Mobile."""
        return self.shortcut and (self.four_conv or (self.stride == 1 and channels == self.out))

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        if not self.two_branch:
            return tape.finish(map=self._mobile(tape, tape.as_map(), None))
        x, z = tape.map, tape.tokens
        if self.to_former:
            z = to_former(tape, x, z, heads=self.heads, gate=self.gate)
        if self.former:
            z = former(tape, z, heads=self.former_heads, expand=self.former_expand, shared_kv=self.shared_kv)
        y = self._mobile(tape, x, z)
        if self.from_former:
            y = from_former(tape, y, z, heads=self.heads)
        return tape.finish(map=y, tokens=z)

    def _mobile(self, tape: Tape, x: Value, z: Value | None) -> Value:
        channels = x.shape[0]
        mid = int(channels * self.expand)
        if self.four_conv:
            return self._mobile_down(tape, x, z, mid)
        y = activation(tape, tape.norm(tape.conv(x, mid, groups=self.groups), "bn"), z, self.act)
        y = self._depth_point(tape, y, z, mid=mid, stride=self.stride)
        return tape.add(x, y) if self.skips(channels) else y

    def _mobile_down(self, tape: Tape, x: Value, z: Value | None, mid: int) -> Value:
        inner = self._depth_point(tape, x, z, mid=mid, stride=self.stride)
        y = self._depth_point(tape, inner, z, mid=int(self.out * self.expand2), stride=1)
        return tape.add(inner, y) if self.shortcut else y

    def _depth_point(self, tape: Tape, x: Value, z: Value | None, *, mid: int, stride: int) -> Value:
        return depth_point(
            tape,
            x,
            z,
            mid=mid,
            out=self.out,
            kernel=self.kernel,
            stride=stride,
            groups=self.groups,
            act=self.act,
        )


@register_block("mobileformer_head", role="head")
@dataclass(frozen=True, kw_only=True)
class MobileFormerHead(Block):
    """Mobile-Former's head: a last Mobile->Former, then a classifier on the map and the first token.

    1x1 to ``expand`` times the channels (after a shuffle where `groups` > 1), BatchNorm, ReLU6, mean,
    h-swish; the first token joined on; linear to `hidden`, BatchNorm, h-swish; linear to the classes.
    `to_former` and `token` switch the last bridge and the joined token off.
    """

    out: int = 1000
    expand: float = 6
    hidden: int = 1920
    groups: int = 1
    to_former: bool = True
    token: bool = True
    heads: int = 2
    gate: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.to_former and not self.token:
            raise ValueError("to_former needs token: nothing would read the tokens that it updates")

    @property
    def two_branch(self) -> bool:
        """Whether the head reads the tokens."""
        return self.token

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x, z = (tape.map, tape.tokens) if self.token else (tape.as_map(), None)
        if z is not None and self.to_former:
            z = to_former(tape, x, z, heads=self.heads, gate=self.gate)
        y = tape.norm(tape.conv(x, int(x.shape[0] * self.expand), groups=self.groups), "bn")
        y = tape.mean(tape.act(y, "relu6"))
        y = tape.act(tape.view(y, (1, y.shape[0])), "hardswish")
        if z is not None:
            y = tape.concat(y, tape.view(z, (1, z.shape[1])))
        y = tape.act(tape.norm(tape.linear(y, self.hidden), "bn"), "hardswish")
        return tape.finish(tokens=tape.linear(y, self.out))
