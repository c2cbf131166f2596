"""RRDBNet, the network of ESRGAN and Real-ESRGAN, whose convolutions on large maps multiply fastest."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

WIDTH, GROWTH, BLOCKS = 64, 32, 23
SHARE = 0.2  # of a block that is added to what it was given


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class _DenseBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        outputs = (*[GROWTH] * 4, WIDTH)
        self.convs = nn.ModuleList(_conv(WIDTH + i * GROWTH, out) for i, out in enumerate(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *inner, last = self.convs
        found = [x]
        for conv in inner:
            found.append(functional.leaky_relu(conv(torch.cat(found, dim=1)), 0.2))
        y: torch.Tensor = x + SHARE * last(torch.cat(found, dim=1))
        return y


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Sequential(_DenseBlock(), _DenseBlock(), _DenseBlock())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + SHARE * self.dense(x)
        return y


class RRDBNet(nn.Module):
    """Residual dense blocks at the image's own size, then two enlargements (arXiv 1809.00219, 3.1)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.trunk = _conv(3, WIDTH), _conv(WIDTH, WIDTH)
        self.body = nn.Sequential(*(_Block() for _ in range(BLOCKS)))
        self.larger = nn.ModuleList(_conv(WIDTH, WIDTH) for _ in range(2))
        self.refined, self.last = _conv(WIDTH, WIDTH), _conv(WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The image [B, 3, H, W] four times as large a side, [B, 3, 4 H, 4 W]."""
        y = self.first(x)
        y = y + self.trunk(self.body(y))
        for conv in self.larger:
            y = functional.leaky_relu(conv(functional.interpolate(y, scale_factor=2.0)), 0.2)
        out: torch.Tensor = self.last(functional.leaky_relu(self.refined(y), 0.2))
        return out
