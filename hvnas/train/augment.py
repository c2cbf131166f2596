"""Augmentation of whole batches by kornia, as a recipe and the data allow."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from hvnas.train.training import Augment

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

        from hvnas.train.randaugment import Operations
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
