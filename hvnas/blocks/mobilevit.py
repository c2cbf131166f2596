"""MobileViT (2110.02178): the block that unfolds a map and attends across patches."""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.attention import softmax_attention
from hvnas.blocks.base import Block, divided, register_block
from hvnas.blocks.mbconv import conv_norm_act
from hvnas.ops import Lowered, State, Tape, Value


@register_block("mobilevit")
@dataclass(frozen=True, kw_only=True)
class MobileViT(Block):
    """The MobileViT block (2110.02178 section 3.1, Figure 1b).

    ``y = 1x1(Conv_k(x))`` to `dim` channels, the 1x1 bare; unfold into ``patch**2`` sequences, one
    for each position within a patch, of ``H W / patch**2`` tokens; `layers` pre-norm transformer
    layers and a LayerNorm; fold; ``Conv_k([x, 1x1(y)])``. No residual: the concatenation, x first,
    is the shortcut. FFNs have ``expand * dim`` channels. Where `patch` does not divide the map it is
    resized bilinearly to the next multiple before unfolding and back after folding (as the code;
    Table 6's patch 3). No positions are learned.
    """

    dim: int = 144
    layers: int = 2
    heads: int = 4
    expand: float = 2
    patch: int = 2
    kernel: int = 3
    act: str = "silu"

    def __post_init__(self) -> None:
        super().__post_init__()
        divided(self.dim, self.heads, what="heads")
        if self.patch < 2 or self.layers < 1:
            raise ValueError(
                f"patch must be >= 2 and layers >= 1, got {self.patch} and {self.layers}; "
                "a patch of one position leaves nothing to unfold"
            )

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.as_map()
        y = conv_norm_act(tape, x, x.shape[0], act=self.act, kernel=self.kernel)
        y = tape.conv(y, self.dim)
        grid = (y.shape[1], y.shape[2])
        unfolded = padded_grid(grid, self.patch)
        if unfolded != grid:
            y = tape.resize(y, *unfolded)
        y = tape.flatten(y, to="windows")
        for _ in range(self.layers):
            y = self._layer(tape, y)
        y = tape.unflatten(tape.norm(y, "ln"), unfolded, source="windows")
        if unfolded != grid:
            y = tape.resize(y, *grid)
        y = tape.concat(x, conv_norm_act(tape, y, self.out, act=self.act))
        return tape.finish(map=conv_norm_act(tape, y, self.out, act=self.act, kernel=self.kernel))

    def _layer(self, tape: Tape, x: Value) -> Value:
        sequences = self.patch**2
        n, batch, size = x.shape[0] // sequences, sequences * self.heads, self.dim // self.heads
        qkv = tape.linear(tape.norm(x, "ln"), 3 * self.dim)
        y = softmax_attention(
            tape,
            tape.view(qkv, (batch, n, size)),
            tape.view(qkv, (batch, size, n)),
            tape.view(qkv, (batch, n, size)),
        )
        x = tape.add(x, tape.linear(tape.view(y, x.shape), self.dim))
        y = tape.linear(tape.norm(x, "ln"), int(self.dim * self.expand))
        return tape.add(x, tape.linear(tape.act(y, self.act), self.dim))


def padded_grid(grid: tuple[int, int], patch: int) -> tuple[int, int]:
    """The next multiples of `patch` of a map's height and width."""
    height, width = (-(-size // patch) * patch for size in grid)
    return height, width
