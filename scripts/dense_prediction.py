"""A backbone of hvnas for segmentation and for detection: train both heads on shapes drawn on the fly.

`hvnas.build(..., features_only=True)` gives the maps at strides 4 to 32; a pyramid of features (FPN, Lin et
al., arXiv 1612.03144, Section 3) joins them at stride 4. There one head says what each pixel is part of,
and another finds objects as points (CenterNet, Zhou et al., arXiv 1904.07850, Sections 3 and 4: a heat map of
centres with the penalty-reduced focal loss of its equation 1, and a size at each centre).

    python scripts/dense_prediction.py                                   # a few minutes on a CPU
    python scripts/dense_prediction.py --model mobilevit_xxs --steps 800
    python scripts/dense_prediction.py --model runs/phone/best.yaml      # a network that a search found
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import hvnas

KINDS = ("square", "disc")
BACKGROUND = len(KINDS)
STRIDE = 4


class Batch(NamedTuple):
    """Images [B, 3, R, R] in 0..1, labels of pixels [B, R, R], and a box each: kind, centre, half side."""

    images: Tensor
    labels: Tensor
    kind: Tensor
    centre: Tensor
    half: Tensor


def draw(count: int, resolution: int, *, generator: torch.Generator) -> Batch:
    """One square or disc on noise in each image."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    kind = torch.randint(len(KINDS), (count,), generator=generator)
    half = uniform(0.12, 0.25, count) * resolution
    centre = uniform(0.28, 0.72, count, 2) * resolution
    axis = torch.arange(resolution) + 0.5
    y = (axis[None, :, None] - centre[:, 0, None, None]).abs()
    x = (axis[None, None, :] - centre[:, 1, None, None]).abs()
    r = half[:, None, None]
    inside = torch.where(kind[:, None, None] == 0, (y < r) & (x < r), y**2 + x**2 < r**2)
    paint = torch.randint(2, (count, 3, 1, 1), generator=generator).float()
    noise = 0.3 * uniform(-1, 1, count, 3, resolution, resolution)
    images = torch.where(inside[:, None], paint, 0.5) + noise
    labels = torch.where(inside, kind[:, None, None], BACKGROUND)
    return Batch(images.clamp(0, 1), labels, kind, centre, half)


class DensePredictor(nn.Module):
    """Images [B, 3, R, R] to logits of pixels [B, 3, R, R], and heat maps with sizes [B, 3, R/4, R/4]."""

    def __init__(self, arch: hvnas.Arch, *, weights: str | None = None, width: int = 64) -> None:
        super().__init__()
        self.backbone = hvnas.build(arch, weights=weights, features_only=True)
        if STRIDE not in self.backbone.strides:
            raise SystemExit(f"{arch.name}: has no map at stride {STRIDE}; choose a network with stages")
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in self.backbone.channels)
        self.smooth = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.pixels = nn.Conv2d(width, len(KINDS) + 1, 1)
        self.points = nn.Conv2d(width, len(KINDS) + 1, 1)
        # Centres are rare: heat begins low, as in CenterNet.
        nn.init.constant_(self.points.bias, -2.2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = [lateral(each) for lateral, each in zip(self.lateral, self.backbone(images), strict=True)]
        joined = maps[-1]
        for finer in reversed(maps[:-1]):
            joined = finer + F.interpolate(joined, size=finer.shape[-2:], mode="nearest")
        joined = self.smooth(joined)
        logits = F.interpolate(self.pixels(joined), size=images.shape[-2:], mode="bilinear")
        return logits, self.points(joined)


def loss_of(logits: Tensor, points: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of the pixels, focal loss of the centres and L1 of the sizes."""
    cell = (batch.centre / STRIDE).long()
    one = torch.arange(len(batch.kind))
    size = points[:, -1][one, cell[:, 0], cell[:, 1]]
    axis = torch.arange(points.shape[-1])
    y, x = axis[None, :, None] - cell[:, 0, None, None], axis[None, None, :] - cell[:, 1, None, None]
    goal = torch.zeros_like(points[:, :-1])
    goal[one, batch.kind] = torch.exp(-(y**2 + x**2) / 2.0)
    heat = points[:, :-1].sigmoid().clamp(1e-4, 1 - 1e-4)
    focal = torch.where(goal == 1, (1 - heat) ** 2 * heat.log(), (1 - goal) ** 4 * heat**2 * (1 - heat).log())
    scale = logits.shape[-1]
    sizes = (size - (batch.half / scale)).abs().mean()
    return 5 * F.cross_entropy(logits, batch.labels) - focal.sum() / len(one) + 5 * sizes


@torch.no_grad()
def scores(model: DensePredictor, batch: Batch) -> tuple[float, float]:
    """Mean intersection over union of the kinds' pixels, and of the boxes, 0 for one of the wrong kind."""
    logits, points = model.eval()(batch.images)
    model.train()
    found = logits.argmax(1)
    pairs = [(found == k, batch.labels == k) for k in range(len(KINDS))]
    pixels = [float((ours & true).sum() / (ours | true).sum().clamp(min=1)) for ours, true in pairs]
    side = points.shape[-1]
    place = points[:, :-1].flatten(1).argmax(1)
    kind, cell = place // side**2, place % side**2
    centre = torch.stack([cell // side, cell % side], dim=1) * STRIDE + STRIDE / 2
    half = points[:, -1].flatten(1).gather(1, cell[:, None])[:, 0] * batch.images.shape[-1]
    low = torch.maximum(centre - half[:, None], batch.centre - batch.half[:, None])
    high = torch.minimum(centre + half[:, None], batch.centre + batch.half[:, None])
    both = (high - low).clamp(min=0).prod(1)
    either = (2 * half) ** 2 + (2 * batch.half) ** 2 - both
    boxes = torch.where(kind == batch.kind, both / either, 0.0).mean()
    return sum(pixels) / len(pixels), float(boxes)


def main(argv: list[str] | None = None) -> tuple[float, float]:
    """Train both heads and the backbone; print how well pixels and boxes agree, before and after."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="efficientvit_b0", help="a model's name, or the path of a network")
    parser.add_argument("--weights", help="a safetensors file to begin with")
    parser.add_argument("--resolution", type=int, default=64, help="pixels a side")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args(argv)
    torch.manual_seed(0)
    model = DensePredictor(
        hvnas.load_arch(options.model).with_(resolution=options.resolution), weights=options.weights
    )
    test = draw(256, options.resolution, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=options.steps)
    line = "{:.2f} of the pixels, {:.2f} of the boxes (intersection over union)"
    print("before:", line.format(*scores(model, test)))
    for _ in range(options.steps):
        batch = draw(options.batch, options.resolution, generator=generator)
        optimiser.zero_grad()
        loss_of(*model(batch.images), batch).backward()
        optimiser.step()
        schedule.step()
    after = scores(model, test)
    print("after: ", line.format(*after))
    return after


if __name__ == "__main__":
    main()
