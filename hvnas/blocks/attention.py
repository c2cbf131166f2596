"""Softmax attention: the shared lowering, and EfficientFormer's MB3D."""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.base import Block, register_block, require_width
from hvnas.ops import Lowered, State, Tape, Value


def softmax_attention(tape: Tape, q: Value, k: Value, v: Value, *, bias: int = 0) -> Value:
    """``softmax(q k + b) v`` on ``(h, n, d)``, ``(h, d, m)``, ``(h, m, e)``; b has `bias` parameters."""
    scores = tape.matmul(q, k)
    if bias:
        scores = tape.bias(scores, bias)
    return tape.matmul(tape.softmax(scores), v)


@register_block("mb3d")
@dataclass(frozen=True, kw_only=True)
class MB3D(Block):
    """EfficientFormer's 3D block on tokens (2206.01191 section 4; the authors' Meta3D).

    ``x += s1 Attn(LN(x))``; ``x += s2 MLP(LN(x))``. `heads` heads with keys of `key_dim` and values of
    ``attn_ratio * key_dim`` channels whatever the width, one linear layer for q, k, v with per-head
    order [q, k, v], and a learned bias per head and absolute offset (|dy|, |dx|): heads x H W entries.
    """

    expand: float = 4
    heads: int = 8
    key_dim: int = 32
    attn_ratio: int = 4
    act: str = "gelu"

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x, grid = tape.as_tokens()
        if grid is None:
            raise ValueError(
                "the attention bias needs tokens of a map, but a class token is among them; "
                "leave the class token out or choose another block"
            )
        require_width(x, self.out)
        n, heads, key = x.shape[0], self.heads, self.key_dim
        value = self.attn_ratio * key
        qkv = tape.linear(tape.norm(x, "ln"), heads * (2 * key + value))
        y = softmax_attention(
            tape,
            tape.view(qkv, (heads, n, key)),
            tape.view(qkv, (heads, key, n)),
            tape.view(qkv, (heads, n, value)),
            bias=heads * n,
        )
        y = tape.linear(tape.view(y, (n, heads * value)), self.out)
        x = tape.add(x, tape.scale(y, self.out))
        y = tape.linear(tape.norm(x, "ln"), int(self.out * self.expand))
        y = tape.linear(tape.act(y, self.act), self.out)
        return tape.finish(tokens=tape.add(x, tape.scale(y, self.out)), grid=grid)
