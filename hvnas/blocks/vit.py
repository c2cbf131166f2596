"""ViT (2010.11929) as used by Early Convolutions (2106.14881): ViT_P and ViT_C.

Tokens only: a patchify or convolutional stem, class token and absolute positions, pre-norm blocks.
The parameter counts equal those of ViT_P and ViT_C with class token.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.attention import softmax_attention
from hvnas.blocks.base import Block, divided, register_block, require_width
from hvnas.ops import Lowered, State, Tape, Value


@register_block("token_embed", role="downsample")
@dataclass(frozen=True, kw_only=True)
class TokenEmbed(Block):
    """A map to tokens: flatten, class token in front, learned absolute positions added to all.

    With `class_token` the tokens have no grid: no map can be made of them again.
    """

    class_token: bool = True
    positions: bool = True

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x, grid = tape.as_tokens()
        require_width(x, self.out)
        if self.class_token:
            x, grid = tape.concat(tape.embed((1, self.out)), x), None
        if self.positions:
            x = tape.bias(x, x.shape[0] * self.out)
        return tape.finish(tokens=x, grid=grid)


@register_block("vit_block")
@dataclass(frozen=True, kw_only=True)
class ViTBlock(Block):
    """Pre-norm transformer block (2010.11929 Equations 2, 3): ``x += Attn(LN(x))``; ``x += MLP(LN(x))``.

    ``out / head_dim`` heads, q, k, v and projection with bias, GELU. ViT_P and ViT_C have heads of 64
    channels at every size and an MLP of 3 (1GF, 4GF) or 4 times the width (2106.14881, Table 1).
    """

    expand: float = 4
    head_dim: int = 64
    act: str = "gelu"

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x, grid = tape.as_tokens()
        require_width(x, self.out)
        x = tape.add(x, self._attention(tape, tape.norm(x, "ln")))
        y = tape.linear(tape.norm(x, "ln"), int(self.out * self.expand))
        y = tape.linear(tape.act(y, self.act), self.out)
        return tape.finish(tokens=tape.add(x, y), grid=grid)

    def _attention(self, tape: Tape, x: Value) -> Value:
        n, heads = x.shape[0], divided(self.out, self.head_dim, what="head_dim")
        qkv = tape.linear(x, 3 * self.out)
        y = softmax_attention(
            tape,
            tape.view(qkv, (heads, n, self.head_dim)),
            tape.view(qkv, (heads, self.head_dim, n)),
            tape.view(qkv, (heads, n, self.head_dim)),
        )
        return tape.linear(tape.view(y, (n, self.out)), self.out)


@register_block("vit_head", role="head")
@dataclass(frozen=True, kw_only=True)
class ViTHead(Block):
    """LayerNorm and a linear classifier on the class token (``class``) or on the mean token (``mean``).

    ViT_P and ViT_C read the class token. LayerNorm works on each token by itself, so the class token
    is taken first and nothing else is normalised.
    """

    out: int = 1000
    pool: str = "class"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool not in ("class", "mean"):
            raise ValueError(f"pool must be class or mean, got {self.pool!r}")

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        if self.pool == "class":
            x = tape.norm(tape.view(tape.tokens, (1, tape.tokens.shape[1])), "ln")
        else:
            x = tape.mean(tape.norm(tape.as_tokens()[0], "ln"))
        return tape.finish(tokens=tape.linear(x, self.out))
