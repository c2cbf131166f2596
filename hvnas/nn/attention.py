"""EfficientFormer's MB3D."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvnas.blocks.attention import MB3D
from hvnas.nn.base import DropPath, LayerScale, make_act, module_for, to_tokens
from hvnas.nn.folding import fold_back
from hvnas.ops import State


class BiasTable(nn.Module):
    """A learned bias per head for every pair of query and key: the table's entry that `index_NN` names."""

    index_NN: Tensor
    bias_HNN: Tensor | None

    def __init__(self, heads: int, entries: int, index_NN: Tensor) -> None:
        super().__init__()
        self.heads = heads
        self.table = nn.Parameter(torch.zeros(heads, entries))
        self.register_buffer("index_NN", index_NN, persistent=False)
        self.register_buffer("bias_HNN", None)

    def forward(self) -> Tensor:
        return self.table[:, self.index_NN] if self.bias_HNN is None else self.bias_HNN

    def fold(self) -> None:
        self.bias_HNN = self().contiguous()
        del self.table, self.index_NN


class OffsetBias(BiasTable):
    """A bias per absolute offset (|dy|, |dx|) between two positions of a grid.

    With `step` the queries are every `step`-th position of the grid along each axis.
    """

    def __init__(self, heads: int, grid: tuple[int, int], *, step: int = 1) -> None:
        height, width = grid
        positions = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
        keys, queries = positions.flatten(1), positions[:, ::step, ::step].flatten(1)
        dy, dx = (queries[:, :, None] - keys[:, None]).abs()
        super().__init__(heads, height * width, dy * width + dx)
        self.grid, self.step = grid, step


class MB3DAttention(nn.Module):
    """Multi-head attention with per-head [q, k, v] channels and offset bias."""

    def __init__(self, block: MB3D, grid: tuple[int, int]) -> None:
        super().__init__()
        self.heads, self.key_dim = block.heads, block.key_dim
        self.value_dim = block.attn_ratio * block.key_dim
        self.qkv = nn.Linear(block.out, block.heads * (2 * self.key_dim + self.value_dim))
        self.bias = OffsetBias(block.heads, grid)
        self.proj = nn.Linear(block.heads * self.value_dim, block.out)

    def forward(self, x_BND: Tensor) -> Tensor:
        batch, n, _ = x_BND.shape
        qkv = self.qkv(x_BND).view(batch, n, self.heads, -1).transpose(1, 2)
        q, k, v = qkv.split([self.key_dim, self.key_dim, self.value_dim], dim=3)
        # values are wider than keys, which no fused kernel takes
        scores = (q * self.key_dim**-0.5) @ k.transpose(2, 3) + self.bias()
        y = scores.softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(batch, n, -1))


class TokenMlp(nn.Module):
    """Linear, activation, linear."""

    def __init__(self, width: int, hidden: int, *, act: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = make_act(act)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x_BND)))


@module_for(MB3D)
class MB3DModule(nn.Module):
    """EfficientFormer's 3D block."""

    def __init__(self, block: MB3D, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        grid = state.grid if state.map is None else state.map[1:]
        assert grid is not None
        self.to_tokens = to_tokens(state)
        self.norm1 = nn.LayerNorm(block.out)
        self.attn = MB3DAttention(block, grid)
        self.norm2 = nn.LayerNorm(block.out)
        self.mlp = TokenMlp(block.out, int(block.out * block.expand), act=block.act)
        self.scale1 = LayerScale(block.out, tokens=True)
        self.scale2 = LayerScale(block.out, tokens=True)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_tokens(x)
        x = x + self.drop_path(self.scale1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))

    def fold(self) -> None:
        fold_back(self, "scale1", "attn.proj")
        fold_back(self, "scale2", "mlp.fc2")
