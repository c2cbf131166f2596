"""The trained networks of ViT-Bench-101, as plain torch: AutoFormer-Ti and PiT.

AutoFormer's heads have 64 channels whatever the width (2107.00651), and PiT pools tokens between stages
(2103.16302): neither is a network of the project's blocks. AutoFormer's relative positions are left out;
they have 0.1 % of the parameters.

Shapes: B batch, N tokens with the class token first, D token dimension, h heads.
"""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DATA = Path(__file__).resolve().parent / "data" / "vitbench101.csv"
TASKS = ("cifar100", "flowers", "chaoyang")
CLASSES = 100
PATCH = 16
HEAD = 64


@dataclass(frozen=True)
class Trained:
    """One trained network: its space, its choices, and its accuracy on each task in points."""

    space: str
    choices: dict[str, Any]
    accuracy: dict[str, float]

    def build(self, resolution: int) -> Transformer:
        """The network for images of `resolution` pixels."""
        return (_pit if self.space == "pit" else _autoformer)(self.choices, resolution)


def trained_networks(space: str) -> list[Trained]:
    """The networks of ``autoformer_2`` or ``pit``, in the order of the file."""
    with DATA.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["space"] == space]
    return [
        Trained(space, ast.literal_eval(row["arch"]), {task: float(row[task]) for task in TASKS})
        for row in rows
    ]


class SelfAttention(nn.Module):
    """Multi-head attention whose heads together may be wider than the tokens."""

    def __init__(self, width: int, heads: int, head: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * heads * head)
        self.proj = nn.Linear(heads * head, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        q, k, v = self.qkv(x_BND).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int, head: int, expand: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads, head)
        hidden = int(width * expand)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x_BND: Tensor) -> Tensor:
        x = x_BND + self.attn(self.norm1(x_BND))
        return x + self.mlp(self.norm2(x))


class TokenPool(nn.Module):
    """PiT's pooling: a strided depthwise convolution of the map, a linear layer for the class token."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, out, 3, 2, 1, groups=width)
        self.fc = nn.Linear(width, out)

    def forward(self, x_BND: Tensor) -> Tensor:
        side = round((x_BND.shape[1] - 1) ** 0.5)
        map_ = self.conv(x_BND[:, 1:].transpose(1, 2).unflatten(2, (side, side)))
        return torch.cat((self.fc(x_BND[:, :1]), map_.flatten(2).transpose(1, 2)), 1)


class Transformer(nn.Module):
    """Patches, class token, positions, a body of blocks, LayerNorm and classifier on the class token."""

    def __init__(self, width: int, out: int, *, stride: int, resolution: int, body: Sequence[nn.Module]):
        super().__init__()
        self.patches = nn.Conv2d(3, width, PATCH, stride)
        tokens = ((resolution - PATCH) // stride + 1) ** 2
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, tokens + 1, width).normal_(std=0.02))
        self.body = nn.Sequential(*body)
        self.norm = nn.LayerNorm(out)
        self.fc = nn.Linear(out, CLASSES)

    @property
    def blocks(self) -> Iterator[nn.Module]:
        """The transformer blocks, pooling left out."""
        return (module for module in self.body if isinstance(module, Block))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = self.patches(x_BCHW).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_token.expand(len(x), -1, -1), x), 1) + self.positions
        return self.fc(self.norm(self.body(x)[:, 0]))


def _autoformer(choices: dict[str, Any], resolution: int) -> Transformer:
    width = choices["hidden_dim"]
    body = [
        Block(width, heads, HEAD, expand)
        for heads, expand in zip(choices["num_heads"], choices["mlp_ratio"], strict=True)
    ]
    return Transformer(width, width, stride=PATCH, resolution=resolution, body=body)


def _pit(choices: dict[str, Any], resolution: int) -> Transformer:
    head = choices["base_dim"]
    widths = [head * heads for heads in choices["num_heads"]]
    body: list[nn.Module] = []
    for i, (depth, heads) in enumerate(zip(choices["depth"], choices["num_heads"], strict=True)):
        if i:
            body.append(TokenPool(widths[i - 1], widths[i]))
        body += [Block(widths[i], heads, head, choices["mlp_ratio"]) for _ in range(depth)]
    return Transformer(widths[0], widths[-1], stride=PATCH // 2, resolution=resolution, body=body)
