"""CoAtNet (2106.04803): pre-activation MBConv and the relative-attention transformer block."""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.attention import softmax_attention
from hvnas.blocks.base import Block, divided, option, register_block, require_choice, require_odd
from hvnas.ops import Lowered, State, Tape, Value

POOLS = ("max", "avg")
RELATIVE = ("none", "pre", "post")


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
    of the readings the paper allows, the one that reproduces its printed counts. `norm` ln puts a
    LayerNorm over the channels in the place of every BatchNorm (Table 8).
    """

    stride: int = 1
    expand: float = 4
    kernel: int = 3
    se: float = 0.25
    stride_in: str = "expand"
    pool: str = "max"
    act: str = "gelu"
    norm: str = option("bn")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_odd("kernel", self.kernel)
        require_choice("norm", self.norm, ("bn", "ln"))
        require_choice("stride_in", self.stride_in, ("expand", "depthwise"))
        require_choice("pool", self.pool, POOLS)

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        check_even(x, self.stride)
        mid = int(self.out * self.expand)
        first, second = (self.stride, 1) if self.stride_in == "expand" else (1, self.stride)
        shortcut = pool_shortcut(tape, x, self.out, pool=self.pool, stride=self.stride)
        y = tape.conv(tape.norm(x, self.norm), mid, stride=first)
        y = tape.act(tape.norm(y, self.norm), self.act)
        y = tape.conv(y, mid, kernel=self.kernel, stride=second, groups=mid)
        y = tape.act(tape.norm(y, self.norm), self.act)
        if self.se:
            y = squeeze_excite(tape, y, max(1, int(self.se * self.out)))
        y = tape.conv(y, self.out, bias=True)
        return tape.finish(map=tape.add(shortcut, y))


@register_block("coat_transformer")
@dataclass(frozen=True, kw_only=True)
class CoatTransformer(Block):
    """CoAtNet's transformer block on a map, with relative attention.

    ``x <- Proj(Pool(x)) + Attention(Pool(Norm(x)))`` then ``x += FFN(Norm(x))`` (Appendix A.1,
    Equation 4). Attention has ``out / head_dim`` heads and a learned w for every head and relative
    offset, (2H-1)(2W-1) entries each (Equation 3). `relative` pre adds it before the softmax, what the
    paper uses; post adds it to the softmax's result; none leaves it out.

    `window` > 0 is the alternative that section 2.2 tries and drops because it is slow: attention
    within a neighbourhood. The paper does not say which; here it is non-overlapping windows of
    `window` x `window` positions that share one bias table.
    """

    stride: int = 1
    expand: float = 4
    head_dim: int = 32
    relative: str = "pre"
    window: int = 0
    pool: str = "max"
    act: str = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("relative", self.relative, RELATIVE)
        require_choice("pool", self.pool, POOLS)

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        check_even(x, self.stride)
        shortcut = pool_shortcut(tape, x, self.out, pool=self.pool, stride=self.stride)
        y = tape.norm(x, "ln")
        if self.stride > 1:
            y = tape.pool(y, self.pool, kernel=self.stride, stride=self.stride, padding=0)
        y = self._window_attention(tape, y) if self.window else self._attention(tape, y)
        x = tape.add(shortcut, y)
        y = tape.conv(tape.norm(x, "ln"), int(self.out * self.expand), bias=True)
        y = tape.conv(tape.act(y, self.act), self.out, bias=True)
        return tape.finish(map=tape.add(x, y))

    def _attention(self, tape: Tape, x: Value) -> Value:
        height, width = x.shape[1:]
        qkv = tape.conv(x, 3 * self.out, bias=True)
        y = self._attend(tape, qkv, windows=1, grid=(height, width))
        return tape.conv(tape.view(y, (self.out, height, width)), self.out, bias=True)

    def _window_attention(self, tape: Tape, x: Value) -> Value:
        _, height, width = x.shape
        if height % self.window or width % self.window:
            raise ValueError(
                f"window {self.window} must divide the map that attends, {height} x {width}; "
                "choose another window or resolution"
            )
        windows = (height // self.window) * (width // self.window)
        layout = "windows" if windows > 1 else "tokens"
        qkv = tape.linear(tape.flatten(x, to=layout), 3 * self.out)
        y = self._attend(tape, qkv, windows=windows, grid=(self.window, self.window))
        y = tape.linear(tape.view(y, (height * width, self.out)), self.out)
        return tape.unflatten(y, (height, width), source=layout)

    def _attend(self, tape: Tape, qkv: Value, *, windows: int, grid: tuple[int, int]) -> Value:
        heads, n, dim = divided(self.out, self.head_dim, what="head_dim"), grid[0] * grid[1], self.head_dim
        entries = heads * (2 * grid[0] - 1) * (2 * grid[1] - 1)
        q, k, v = (tape.view(qkv, (windows * heads, *shape)) for shape in ((n, dim), (dim, n), (n, dim)))
        if self.relative != "post":
            return softmax_attention(tape, q, k, v, bias=entries if self.relative == "pre" else 0)
        weights = tape.softmax(tape.matmul(q, k))
        return tape.matmul(tape.bias(weights, entries), v)
