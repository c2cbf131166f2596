"""MetaFormer blocks with pooling."""

from __future__ import annotations

from torch import Tensor, nn

from hvnas.blocks.metaformer import MB4D, PoolFormer
from hvnas.nn.base import DropPath, LayerScale, make_act, make_norm, module_for, to_map
from hvnas.ops import State


class PoolMixer(nn.Module):
    """Average pooling minus identity, border pixels averaged over what is there."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(kernel, 1, kernel // 2, count_include_pad=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.pool(x_BCHW) - x_BCHW


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


@module_for(PoolFormer)
class PoolFormerModule(nn.Module):
    """PoolFormer's block."""

    def __init__(self, block: PoolFormer, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.to_map = to_map(state)
        self.norm1 = make_norm(block.norm, block.out)
        self.mixer = PoolMixer(block.pool)
        self.norm2 = make_norm(block.norm, block.out)
        self.mlp = ConvMlp(block.out, int(block.out * block.expand), act=block.act)
        self.scale1 = LayerScale(block.out)
        self.scale2 = LayerScale(block.out)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_map(x)
        x = x + self.drop_path(self.scale1(self.mixer(self.norm1(x))))
        return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))
