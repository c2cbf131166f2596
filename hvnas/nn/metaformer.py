"""MetaFormer blocks: pooling and the other mixers of PoolFormer's ablation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.blocks.metaformer import MB4D, PoolFormer
from hvnas.nn.base import AsMap, DropPath, LayerScale, make_act, make_norm, module_for, to_map
from hvnas.nn.folding import fold_ahead, fold_back
from hvnas.ops import State


class PoolMixer(nn.Module):
    """Average pooling minus identity, border pixels averaged over what is there."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(kernel, 1, kernel // 2, count_include_pad=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.pool(x_BCHW) - x_BCHW


class SpatialFc(nn.Module):
    """A linear layer over all positions of a map, the same for every channel; tokens come out."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.fc = nn.Linear(positions, positions, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.fc(x_BCHW.flatten(2)).transpose(1, 2)


class RandomMixer(nn.Module):
    """A frozen random matrix over all positions of a map, its rows summing to one; tokens come out."""

    matrix_NN: Tensor

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.register_buffer("matrix_NN", torch.rand(positions, positions).softmax(-1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.linear(x_BCHW.flatten(2), self.matrix_NN).transpose(1, 2)


class AttentionMixer(nn.Module):
    """Multi-head attention over a map, q, k, v without bias; tokens come out."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        qkv = self.qkv(x_BCHW.flatten(2).transpose(1, 2))
        q, k, v = qkv.unflatten(2, (3, -1, self.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def make_mixer(block: PoolFormer, grid: tuple[int, int]) -> nn.Module:
    """The token mixer of a PoolFormer block on a map of size `grid`."""
    if block.mixer == "pool":
        return PoolMixer(block.pool)
    if block.mixer == "depthwise":
        return nn.Conv2d(block.out, block.out, block.pool, padding=block.pool // 2, groups=block.out)
    if block.mixer == "attention":
        return AttentionMixer(block.out, block.head_dim)
    if block.mixer == "identity":
        return nn.Identity()
    return (SpatialFc if block.mixer == "spatial_fc" else RandomMixer)(grid[0] * grid[1])


class ConvMlp(nn.Module):
    """1x1, activation, 1x1, both with bias; BatchNorm after each where `norm`."""

    def __init__(self, width: int, hidden: int, *, act: str, norm: str = "none") -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, hidden, 1)
        self.norm1 = make_norm(norm, hidden)
        self.act = make_act(act)
        self.fc2 = nn.Conv2d(hidden, width, 1)
        self.norm2 = make_norm(norm, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.norm2(self.fc2(self.act(self.norm1(self.fc1(x_BCHW)))))

    def fold(self) -> None:
        fold_back(self, "norm1", "fc1")
        fold_back(self, "norm2", "fc2")


@module_for(MB4D)
class MB4DModule(nn.Module):
    """EfficientFormer's 4D block."""

    def __init__(self, block: MB4D, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.to_map = to_map(state)
        self.mixer = PoolMixer(block.pool)
        self.mlp = ConvMlp(block.out, int(block.out * block.expand), act=block.act, norm="bn")
        self.scale1 = LayerScale(block.out)
        self.scale2 = LayerScale(block.out)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        x = x + self.drop_path(self.scale1(self.mixer(x)))
        return x + self.drop_path(self.scale2(self.mlp(x)))

    def fold(self) -> None:
        fold_back(self, "scale2", "mlp.fc2")


@module_for(PoolFormer)
class PoolFormerModule(nn.Module):
    """PoolFormer's block."""

    def __init__(self, block: PoolFormer, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        grid = state.grid if state.map is None else state.map[1:]
        assert grid is not None
        self.to_map = to_map(state)
        self.residual = block.residual
        self.norm1 = make_norm(block.norm, block.out, eps=1e-5)
        self.mixer = make_mixer(block, grid)
        self.has_mlp = block.expand > 0
        if self.has_mlp:
            self.norm2 = make_norm(block.norm, block.out, eps=1e-5)
            self.mlp = ConvMlp(block.out, int(block.out * block.expand), act=block.act)
        self.scale1 = LayerScale(block.out, tokens=block.mixes_tokens)
        if self.has_mlp:
            self.scale2 = LayerScale(block.out)
        self.from_mixer = AsMap(grid) if block.mixes_tokens else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        x = self._join(x, self.from_mixer(self.scale1(self.mixer(self.norm1(x)))))
        return self._join(x, self.scale2(self.mlp(self.norm2(x)))) if self.has_mlp else x

    def _join(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.drop_path(y) if self.residual else y

    def fold(self) -> None:
        fold_back(self, "scale1", self._last_before_scale())
        if self.has_mlp:
            fold_ahead(self, "norm2", "mlp.fc1")
            fold_back(self, "scale2", "mlp.fc2")

    def _last_before_scale(self) -> str:
        """Which part can take the mixer's layer scale: the mixer's last layer, or the norm before the mixer.

        The mixers without weights per channel are linear and treat every channel alike.
        """
        if isinstance(self.mixer, AttentionMixer):
            return "mixer.proj"
        return "mixer" if isinstance(self.mixer, nn.Conv2d) else "norm1"
