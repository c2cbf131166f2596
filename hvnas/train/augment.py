"""Augmentation of whole batches: what a recipe and the data allow of kornia's, mixup and cutmix.

Shapes: B batch, C classes, R resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.train.settings import Augment, Mix

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

        from hvnas.train.rand_augment import Operations
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
