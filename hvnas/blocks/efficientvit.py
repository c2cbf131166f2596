"""EfficientViT (2205.14756, MIT): ReLU linear attention with multi-scale aggregation."""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.attention import softmax_attention
from hvnas.blocks.base import Block, divided, option, register_block, require_choice, require_width
from hvnas.blocks.mbconv import conv_norm_act, inverted_bottleneck
from hvnas.ops import Lowered, State, Tape, Value

ATTENTION = ("linear", "softmax")


def linear_attention(tape: Tape, qkv: Value, heads: int, size: int) -> Value:
    """ReLU linear attention of a map whose channels are [q, k, v] per head; ``(heads * size, H, W)``.

    ``relu(Q) (relu(K)^T [V, 1])``, the part that came of V over the part that came of the ones: the
    row of ones makes numerator and denominator one product (2205.14756 equations 2 and 3, and the
    authors' code). Linear in the positions: ``2 n size (size + 1)`` MACs a head.
    """
    _, height, width = qkv.shape
    n = height * width
    qk = tape.act(tape.view(qkv, (heads, 2 * size, n)), "relu")
    kv = tape.matmul(tape.view(qkv, (heads, size + 1, n)), tape.view(qk, (heads, n, size)))
    y = tape.matmul(kv, tape.view(qk, (heads, size, n)))
    y = tape.mul(tape.view(y, (heads, size, n)), tape.view(y, (heads, 1, n)))
    return tape.view(y, (heads * size, height, width))


def map_attention(tape: Tape, qkv: Value, heads: int, size: int) -> Value:
    """Softmax attention of a map whose channels are [q, k, v] per head; ``(heads * size, H, W)``."""
    _, height, width = qkv.shape
    n = height * width
    q, k, v = (tape.view(qkv, (heads, *shape)) for shape in ((n, size), (size, n), (n, size)))
    return tape.view(softmax_attention(tape, q, k, v), (heads * size, height, width))


@register_block("efficientvit")
@dataclass(frozen=True, kw_only=True)
class EfficientViT(Block):
    """EfficientViT's block: ``x += Attention(x)``; ``x += MBConv(x)`` (2205.14756 section 3).

    Attention has ``out / head_dim`` heads and no norm before it. Each of `scales` adds as many heads
    again, whose q, k, v are those of the 1x1 convolution gathered by a depthwise convolution of that
    size and a 1x1 grouped by head and by q, k, v. ``scales: []`` is the single-scale form: the only
    local part is then the depthwise convolution in the FFN, as the paper's first version describes.
    The FFN is MBConv with `fewer_norm`. `attn_eps` is added to the denominator: 1e-15 in the authors'
    code, 1e-5 in timm. `eps` is BatchNorm's.

    `attention` softmax is what the linear one stands in for: q, k, v as they are, scaled products of all
    positions with all. `depthwise` off leaves the depthwise convolution out of the FFN.
    """

    head_dim: int = 16
    scales: tuple[int, ...] = (5,)
    expand: float = 4
    kernel: int = 3
    act: str = "hardswish"
    attn_eps: float = 1e-15
    eps: float = 1e-5
    attention: str = option("linear")
    depthwise: bool = option(True)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("attention", self.attention, ATTENTION)
        if any(scale < 1 or scale % 2 == 0 for scale in self.scales):
            raise ValueError(f"scales must be odd kernel sizes, got {list(self.scales)}")

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        require_width(x, self.out)
        x = tape.add(x, self._attention(tape, x))
        kernel = self.kernel if self.depthwise else 0
        y = inverted_bottleneck(
            tape, x, self.out, expand=self.expand, kernel=kernel, act=self.act, fewer_norm=True
        )
        return tape.finish(map=y)

    def _attention(self, tape: Tape, x: Value) -> Value:
        heads = divided(self.out, self.head_dim, what="head_dim")
        width = 3 * self.out
        qkv = tape.conv(x, width)
        gathered = [qkv]
        for scale in self.scales:
            y = tape.conv(qkv, width, kernel=scale, groups=width)
            gathered.append(tape.conv(y, width, groups=3 * heads))
        if self.scales:
            qkv = tape.concat(*gathered)
        attend = linear_attention if self.attention == "linear" else map_attention
        y = attend(tape, qkv, heads * len(gathered), self.head_dim)
        return conv_norm_act(tape, y, self.out)
