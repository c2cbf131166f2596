"""ViT's blocks. Shapes: N tokens (class token included), D token dimension, h heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.blocks.vit import TokenEmbed, ViTBlock, ViTHead
from hvnas.nn.attention import TokenMlp
from hvnas.nn.base import DropPath, map_channels, module_for, to_tokens
from hvnas.ops import State

EPS = 1e-6  # of LayerNorm: timm, torchvision and the code base's only ViT configuration


@module_for(TokenEmbed)
class TokenEmbedModule(nn.Module):
    """A map to tokens with class token and positions."""

    def __init__(self, block: TokenEmbed, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        count = state.tokens[0] if state.map is None and state.tokens else 0
        if state.map is not None:
            count = state.map[1] * state.map[2]
        count += block.class_token
        self.to_tokens = to_tokens(state)
        self.class_token = nn.Parameter(torch.zeros(1, 1, block.out)) if block.class_token else None
        self.positions = None
        if block.positions:
            self.positions = nn.Parameter(torch.empty(1, count, block.out).normal_(std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        x_BND = self.to_tokens(x)
        if self.class_token is not None:
            x_BND = torch.cat((self.class_token.expand(x_BND.shape[0], -1, -1), x_BND), 1)
        return x_BND if self.positions is None else x_BND + self.positions


class ViTAttention(nn.Module):
    """Multi-head attention, q, k and v of all heads in that order."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = width // head_dim, head_dim
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        batch, n, width = x_BND.shape
        qkv = self.qkv(x_BND).view(batch, n, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y_BhNd = F.scaled_dot_product_attention(*qkv.unbind(0))
        return self.proj(y_BhNd.transpose(1, 2).reshape(batch, n, width))


@module_for(ViTBlock)
class ViTBlockModule(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, block: ViTBlock, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.to_tokens = to_tokens(state)
        self.norm1 = nn.LayerNorm(block.out, eps=EPS)
        self.attn = ViTAttention(block.out, block.head_dim)
        self.norm2 = nn.LayerNorm(block.out, eps=EPS)
        self.mlp = TokenMlp(block.out, int(block.out * block.expand), act=block.act)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_tokens(x)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


@module_for(ViTHead)
class ViTHeadModule(nn.Module):
    """LayerNorm and a linear classifier."""

    def __init__(self, block: ViTHead, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        width = map_channels(state)
        self.to_tokens = to_tokens(state)
        self.pool = block.pool
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.fc = nn.Linear(width, block.out)

    def forward(self, x: Tensor) -> Tensor:
        x_BND = self.to_tokens(x)
        x_BD = self.norm(x_BND[:, 0]) if self.pool == "class" else self.norm(x_BND).mean(1)
        return self.fc(x_BD)
