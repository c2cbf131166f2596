"""Augmentation of whole batches by kornia: RandAugment, mixup and cutmix, as a recipe and the data allow.

RandAugment on kornia, with what recipes of timm ask for besides: noise, chance and increasing severity.

Magnitudes and ranges of the operations are kornia's; `inc` follows timm's data/auto_augment.py (Apache-2.0),
where a larger magnitude then always changes an image more: colour, contrast, brightness and sharpness go by
as much above or below the original, and solarising takes in darker pixels. Imports kornia.

Mixup and cutmix of whole batches.

Shapes: B batch, C classes, R resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from kornia.augmentation.auto import RandAugment as Plain
from kornia.augmentation.container.params import ParamItem
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.train.settings import Augment, Mix, RandAugment

Augmentation = Callable[[Tensor], Tensor]


def make_augmentation(augment: Augment, *, resolution: int, mirrors: bool) -> Augmentation:
    """What maps images ``[B, 3, R, R]`` in 0..1 to augmented ones of the same shape and range.

    Draws from torch's global generator alone, so that a seed, or its saved state, repeats it. Mirrors images
    only where their classes survive it. Raises ValueError where kornia is needed and missing.
    """
    if augment.empty:
        return lambda images: images
    try:
        from kornia import augmentation as kornia
        from kornia.augmentation.auto import AutoAugment

    except ImportError:
        raise ValueError(
            "augment: kornia is not installed; pip install 'hvnas[train]' brings it, "
            "or take a recipe without augment"
        ) from None

    size = (resolution, resolution)
    layers: list[nn.Module] = []
    if augment.shift:
        layers.append(kornia.RandomCrop(size, padding=max(1, round(augment.shift * resolution))))
    if augment.crop:
        layers.append(kornia.RandomResizedCrop(size, scale=(augment.crop, 1.0)))
    if augment.flip and mirrors:
        layers.append(kornia.RandomHorizontalFlip(p=augment.flip))
    if augment.autoaugment:
        layers.append(AutoAugment(policy="imagenet"))
    if augment.randaugment:
        layers.append(Operations(augment.randaugment))
    if augment.erasing:
        layers.append(kornia.RandomErasing(p=augment.erasing))
    return nn.Sequential(*layers)


# kornia's names of what an operation varies
_BITS, _THRESHOLD = "bits_factor", "thresholds"
_AROUND_ONE = ("brightness_factor", "contrast_factor", "saturation_factor", "sharpness")
_SIDES = {"translate_x": -1, "translate_y": -2}  # a share of this axis, given in pixels


class Operations(Plain):
    """Images ``[B, 3, R, R]`` to augmented ones: `count` operations a batch, their magnitudes per image."""

    def __init__(self, settings: RandAugment) -> None:
        super().__init__(n=settings.count, m=1)
        self.settings = settings

    def forward_parameters(self, batch_shape: torch.Size) -> list[Any]:
        """What is drawn for a batch, all of it from torch's global generator."""
        drawn = []
        operation: Any
        for name, module in self.get_forward_sequence():
            (part, operation), *_ = module.named_children()
            parameters = operation.forward_parameters(
                batch_shape, mag=self._magnitudes(operation, batch_shape)
            )
            if self.settings.probability < 1:
                kept = torch.rand(batch_shape[0]) < self.settings.probability
                parameters["batch_prob"] = kept.to(parameters["batch_prob"])
            drawn.append(ParamItem(name, [ParamItem(part, parameters)]))
        return drawn

    def _levels(self, count: int) -> Tensor:
        """From 0 to 1, one per image."""
        asked = self.settings
        if asked.mstd == 0:
            return torch.tensor([asked.magnitude / asked.of] * count)
        return (asked.magnitude + asked.mstd * torch.randn(count)).clamp_(0, asked.of) / asked.of

    def _magnitudes(self, operation: Any, shape: torch.Size) -> Tensor | None:
        """In the operation's own unit; None where it has no magnitude."""
        if operation.magnitude_range is None:
            return None
        low, high = map(float, operation.magnitude_range)
        factor, levels = operation._factor_name, self._levels(shape[0])
        if self.settings.inc and factor in _AROUND_ONE:
            signs = torch.randint(0, 2, levels.shape) * 2 - 1
            return (low + high) / 2 + signs * levels * (high - low) / 2
        if factor == _BITS or (self.settings.inc and factor == _THRESHOLD):
            levels = 1 - levels
        return (levels * (high - low) + low) * (shape[_SIDES[factor]] if factor in _SIDES else 1)


Mixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_mixing(mix: Mix, *, classes: int, smoothing: float) -> Mixing:
    """What maps images ``[B, 3, R, R]`` and classes ``[B]`` to mixed images and goals ``[B, C]``.

    One share for the whole batch, each image with its counterpart from the other end. Goals of mixed batches
    are smoothed by `smoothing` already; a batch that is not mixed keeps its classes ``[B]``. Draws from
    torch's global generator alone.
    """

    def mixed(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if mix.empty or float(torch.rand(())) >= mix.probability:
            return images, labels
        cut = mix.cutmix > 0 and (mix.mixup == 0 or float(torch.rand(())) < mix.switch)
        share = _share(mix.cutmix if cut else mix.mixup)
        if cut:
            images, share = _cutmix(images, share)
        else:
            images = images.lerp(images.flip(0), 1.0 - share)
        goal = F.one_hot(labels, classes).to(images.dtype)
        goal = goal.lerp(goal.flip(0), 1.0 - share)
        return images, goal * (1.0 - smoothing) + smoothing / classes

    return mixed


def _share(alpha: float) -> float:
    """How much of an image stays: a draw from Beta(alpha, alpha)."""
    concentration = torch.tensor(alpha)
    return float(torch.distributions.Beta(concentration, concentration).sample())


def _cutmix(images: Tensor, share: float) -> tuple[Tensor, float]:
    """A rectangle of the counterpart laid over each image; the share that stays, the border taken off."""
    height, width = images.shape[-2:]
    side = math.sqrt(1.0 - share)
    top, bottom = _span(height, side)
    left, right = _span(width, side)
    images = images.clone()
    images[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
    return images, 1.0 - (bottom - top) * (right - left) / (height * width)


def _span(length: int, share: float) -> tuple[int, int]:
    """A stretch of `share` of `length` around a centre drawn uniformly, cut off at the ends."""
    centre = int(torch.randint(length, ()))
    half = int(length * share) // 2
    return max(0, centre - half), min(length, centre + half)
