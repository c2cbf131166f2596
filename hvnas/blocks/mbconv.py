"""The MobileNet lineage: MBConv in its post-activation form, fused, residual convolutions, identity, head."""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.base import Block, register_block
from hvnas.blocks.coatnet import squeeze_excite
from hvnas.ops import Lowered, State, Tape, Value


def make_divisible(value: float, divisor: int = 8) -> int:
    """`value` rounded to a multiple of `divisor`, never below 90 % of it (MobileNetV2's rule, 1801.04381)."""
    if value <= 0:
        raise ValueError("expand must be > 0: the block has nothing between its convolutions else")
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def conv_norm_act(
    tape: Tape,
    x: Value,
    out: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    act: str = "none",
    norm: bool = True,
) -> Value:
    """Convolution and activation; BatchNorm between them, or in its place a bias."""
    y = tape.conv(x, out, kernel=kernel, stride=stride, groups=groups, bias=not norm)
    return tape.act(tape.norm(y, "bn") if norm else y, act)


def inverted_bottleneck(
    tape: Tape,
    x: Value,
    out: int,
    *,
    expand: float,
    kernel: int,
    act: str,
    stride: int = 1,
    fewer_norm: bool = False,
    se: float = 0.0,
) -> Value:
    """1x1 expansion, depthwise, SE, linear 1x1; the residual where neither size nor width changes.

    Kernel 0 leaves the depthwise convolution out.
    """
    channels = x.shape[0]
    mid, norm, y = make_divisible(channels * expand), not fewer_norm, x
    if expand == 1:
        mid = channels
    else:
        y = conv_norm_act(tape, x, mid, act=act, norm=norm)
    if kernel:
        y = conv_norm_act(tape, y, mid, act=act, norm=norm, kernel=kernel, stride=stride, groups=mid)
    if se:
        y = squeeze_excite(tape, y, max(1, int(se * channels)), act=act)
    return close_branch(tape, x, conv_norm_act(tape, y, out), stride=stride)


def close_branch(tape: Tape, x: Value, y: Value, *, stride: int) -> Value:
    """``x + y`` at stride 1 and unchanged width, else `y`."""
    return tape.add(x, y) if stride == 1 and x.shape[0] == y.shape[0] else y


@register_block("mbconv")
@dataclass(frozen=True, kw_only=True)
class MBConv(Block):
    """The inverted bottleneck with activation after the norm: MobileNetV2, MobileViT, EfficientViT.

    ``y = BN(1x1(act(BN(DW_k(act(BN(1x1(x)))))))``, plus x where the stride is 1 and the width stays
    (MobileViT 2110.02178 Table 4: strided blocks have no residual). `expand` multiplies the channels
    that arrive, rounded to a multiple of 8; 1 leaves the first 1x1 out, which is EfficientViT's
    DSConv. `fewer_norm` puts a bias in place of the first two norms (EfficientViT's later stages).
    `se` is the reduced width of squeeze-excitation as a fraction of the arriving channels (1905.11946).
    `eps` is BatchNorm's: 1e-5, in EfficientViT's L models 1e-7.
    """

    stride: int = 1
    expand: float = 4
    kernel: int = 3
    se: float = 0.0
    act: str = "silu"
    fewer_norm: bool = False
    eps: float = 1e-5

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        y = inverted_bottleneck(
            tape,
            tape.as_map(),
            self.out,
            expand=self.expand,
            kernel=self.kernel,
            act=self.act,
            stride=self.stride,
            fewer_norm=self.fewer_norm,
            se=self.se,
        )
        return tape.finish(map=y)


@register_block("mbconv_down", role="downsample")
@dataclass(frozen=True, kw_only=True)
class MBConvDown(MBConv):
    """A strided MBConv between stages, its expansion apart from that of the stage's blocks.

    EfficientViT B: `expand` 4 before the attention stages. L: 16 and 24, four times the stage's own.
    """

    stride: int = 2


@register_block("fused_mbconv")
@dataclass(frozen=True, kw_only=True)
class FusedMBConv(Block):
    """MBConv whose expansion and depthwise are one dense convolution (EfficientNetV2 2104.00298).

    ``y = BN(1x1(act(BN(Conv_k(x)))))``, plus x where the stride is 1 and the width stays; the inner
    width is ``expand`` times the channels that arrive, rounded to a multiple of 8.
    """

    stride: int = 1
    expand: float = 4
    kernel: int = 3
    act: str = "gelu_tanh"
    eps: float = 1e-5

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        mid = make_divisible(x.shape[0] * self.expand)
        y = conv_norm_act(tape, x, mid, act=self.act, kernel=self.kernel, stride=self.stride)
        return tape.finish(map=close_branch(tape, x, conv_norm_act(tape, y, self.out), stride=self.stride))


@register_block("fused_mbconv_down", role="downsample")
@dataclass(frozen=True, kw_only=True)
class FusedMBConvDown(FusedMBConv):
    """A strided fused MBConv between stages: EfficientViT L before stages 1 and 2, with `expand` 16."""

    stride: int = 2
    expand: float = 16


@register_block("conv_residual")
@dataclass(frozen=True, kw_only=True)
class ConvResidual(Block):
    """Two dense convolutions: EfficientViT L's ResBlock.

    ``y = BN(Conv_k(act(BN(Conv_k(x)))))``, the first as wide as what arrives, plus x where the
    stride is 1 and the width stays.
    """

    stride: int = 1
    kernel: int = 3
    act: str = "gelu_tanh"
    eps: float = 1e-5

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        y = conv_norm_act(tape, x, x.shape[0], act=self.act, kernel=self.kernel, stride=self.stride)
        y = conv_norm_act(tape, y, self.out, kernel=self.kernel)
        return tape.finish(map=close_branch(tape, x, y, stride=self.stride))


@register_block("identity")
@dataclass(frozen=True, kw_only=True)
class Identity(Block):
    """A layer that is left out: nothing, or where the stride or the width changes ``BN(1x1(x))``.

    The identity of NAS-Bench-Macro (2103.11922, the authors' ``train/model.py``), with which a space
    searches the depth layer by layer. `eps` is BatchNorm's.
    """

    stride: int = 1
    eps: float = 1e-5

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.map
        if self.stride != 1 or x.shape[0] != self.out:
            x = conv_norm_act(tape, x, self.out, stride=self.stride)
        return tape.finish(map=x)


@register_block("conv_classifier", role="head")
@dataclass(frozen=True, kw_only=True)
class ConvClassifier(Block):
    """A 1x1 convolution before the mean over positions, then the classifier; `out` is the classes.

    `channels` is the width of the 1x1 with BatchNorm and activation, 0 for none; `hidden` adds
    ``act(LN(Linear(x)))``, its linear layer without bias, before the classifier. MobileViT:
    ``min(4 C, 960)`` channels (2110.02178 Table 4, the authors' code). EfficientViT: both. `eps` is
    BatchNorm's, `hidden_eps` LayerNorm's (the L models' 1e-7; timm has BatchNorm at 1e-5 there).
    """

    out: int = 1000
    channels: int = 0
    hidden: int = 0
    act: str = "silu"
    eps: float = 1e-5
    hidden_eps: float = 1e-5

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        if self.channels:
            x = conv_norm_act(tape, x, self.channels, act=self.act)
        x = tape.view(tape.mean(x), (1, x.shape[0]))
        if self.hidden:
            x = tape.act(tape.norm(tape.linear(x, self.hidden, bias=False), "ln"), self.act)
        return tape.finish(tokens=tape.linear(x, self.out))
