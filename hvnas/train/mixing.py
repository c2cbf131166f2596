"""Mixup and cutmix of whole batches.

Shapes: B batch, C classes, R resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from hvnas.train.training import Mix

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
