"""RandAugment on kornia, with what recipes of timm ask for besides: noise, chance and increasing severity.

Magnitudes and ranges of the operations are kornia's; `inc` follows timm's data/auto_augment.py (Apache-2.0),
where a larger magnitude then always changes an image more: colour, contrast, brightness and sharpness go by
as much above or below the original, and solarising takes in darker pixels. Imports kornia.
"""

from __future__ import annotations

from typing import Any

import torch
from kornia.augmentation.auto import RandAugment as Plain
from kornia.augmentation.container.params import ParamItem
from torch import Tensor

from hvnas.train.settings import RandAugment

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
