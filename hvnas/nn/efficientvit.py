"""EfficientViT's block."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.blocks.efficientvit import EfficientViT
from hvnas.blocks.mbconv import MBConv
from hvnas.nn.base import ConvNormAct, DropPath, module_for, to_map
from hvnas.nn.mbconv import InvertedBottleneck
from hvnas.ops import State


def relu_attention(qkv_BCHW: Tensor, size: int, eps: float) -> Tensor:
    """ReLU linear attention of [q, k, v] per head, `size` channels each; in float32 at least."""
    batch, channels, height, width = qkv_BCHW.shape
    qkv = qkv_BCHW.view(batch, channels // (3 * size), 3 * size, height * width)
    if qkv.dtype in (torch.float16, torch.bfloat16):
        qkv = qkv.float()
    q, k = F.relu(qkv[:, :, : 2 * size]).split(size, dim=2)
    v = F.pad(qkv[:, :, 2 * size :], (0, 0, 0, 1), value=1.0)
    y = (v @ k.transpose(2, 3)) @ q
    y = y[:, :, :-1] / (y[:, :, -1:] + eps)
    return y.reshape(batch, channels // 3, height, width).to(qkv_BCHW.dtype)


def softmax_attention(qkv_BCHW: Tensor, size: int) -> Tensor:
    """Softmax attention of [q, k, v] per head, `size` channels each."""
    batch, channels, height, width = qkv_BCHW.shape
    qkv_BHND = qkv_BCHW.view(batch, channels // (3 * size), 3 * size, height * width).transpose(2, 3)
    q, k, v = qkv_BHND.contiguous().chunk(3, dim=3)
    y_BHND = F.scaled_dot_product_attention(q, k, v)
    return y_BHND.transpose(2, 3).reshape(batch, channels // 3, height, width)


def _no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """The quotient overflows in half precision; torch has no autocast for the meta device to switch off."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


class LinearAttention(nn.Module):
    """Multi-scale ReLU linear attention on a map, or softmax attention in its place."""

    def __init__(self, block: EfficientViT) -> None:
        super().__init__()
        self.size, self.eps = block.head_dim, block.attn_eps
        self.is_linear = block.attention == "linear"
        width, groups = 3 * block.out, 3 * (block.out // block.head_dim)
        self.qkv = nn.Conv2d(block.out, width, 1, bias=False)
        self.gather = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, scale, padding=scale // 2, groups=width, bias=False),
                nn.Conv2d(width, width, 1, groups=groups, bias=False),
            )
            for scale in block.scales
        )
        self.proj = ConvNormAct(block.out * (1 + len(block.scales)), block.out, eps=block.eps)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        qkv = self.qkv(x_BCHW)
        if self.gather:
            qkv = torch.cat([qkv, *(gather(qkv) for gather in self.gather)], dim=1)
        if not self.is_linear:
            return self.proj(softmax_attention(qkv, self.size))
        with _no_autocast(qkv.device):
            y = relu_attention(qkv, self.size, self.eps)
        return self.proj(y)


@module_for(EfficientViT)
class EfficientViTModule(nn.Module):
    """Linear attention, then MBConv, both residual."""

    def __init__(self, block: EfficientViT, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.to_map = to_map(state)
        self.attn = LinearAttention(block)
        ffn = MBConv(
            out=block.out,
            expand=block.expand,
            kernel=block.kernel,
            act=block.act,
            fewer_norm=True,
            eps=block.eps,
        )
        self.ffn = InvertedBottleneck(block.out, ffn, has_depthwise=block.depthwise, drop_path=drop_path)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        return self.ffn(x + self.drop_path(self.attn(x)))
