"""Which features each Gaussian process of the surrogate looks at, how they are grouped, and their trend.

Two regressions look at the same evidence. The ``whole`` view knows how many mixers of each kind stand at each
stride; with so many features many networks are far from all others. The ``lean`` view knows what the network
is made of as a whole. Their errors on unseen families are partly independent, and their mean is better than
either.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hvnas.accuracy.evidence import RECIPE_FEATURES
from hvnas.accuracy.features import COUNTS, FEATURES, MIXERS, SIZE, STRUCTURE, Array
from hvnas.accuracy.gp import Groups

ALL_FEATURES: tuple[str, ...] = (*FEATURES, *RECIPE_FEATURES)

# What theory says of the sign of an effect. Size helps, and so does every map that is mixed; tokens that
# cannot attend to each other, patches cut at once from many pixels, and activations with a flat side hinder.
# The prior of each slope is centred on STRENGTH times the sign, in standard deviations of the target per
# standard deviation of the feature; the evidence moves it from there.
SIGNS: dict[str, int] = {
    "log_params": 1,
    "log_macs": 1,
    "log_depth": 1,
    "mixers": 1,
    "apart": -1,
    "largest_stride": -1,
    "act_relu": -1,
}
STRENGTH = 0.15

EFFECTS = ("run", "family", "study", "network", "ablation")


@dataclass(frozen=True)
class View:
    """A choice of features. Three smooth parts of the kernel: size together with training, since small
    networks gain less from strong augmentation and long schedules; token mixers; the rest of the structure.
    """

    name: str
    features: tuple[str, ...]

    @cached_property
    def index(self) -> list[int]:
        """Where the view's features stand among all."""
        return [ALL_FEATURES.index(name) for name in self.features]

    @cached_property
    def groups(self) -> Groups:
        """The smooth parts, as indices into the view's features."""
        parts = (
            (*SIZE, *RECIPE_FEATURES),
            MIXERS,
            tuple(name for name in STRUCTURE if name not in MIXERS),
        )
        return tuple(
            tuple(self.features.index(name) for name in part if name in self.features) for part in parts
        )

    @cached_property
    def slopes(self) -> Array:
        """The trend of each of the view's features."""
        return np.array([STRENGTH * SIGNS.get(name, 0) for name in self.features])

    @cached_property
    def theta_names(self) -> tuple[str, ...]:
        """A name for every hyperparameter, in the layout of `hvnas.accuracy.gp.Kernel`."""
        names = [f"slope.{feature}" for feature in self.features]
        for index, group in enumerate(self.groups):
            names.append(f"smooth{index}.amplitude")
            names += [f"smooth{index}.length.{self.features[feature]}" for feature in group]
        return (*names, *(f"noise.{effect}" for effect in EFFECTS))


VIEWS: tuple[View, ...] = (
    View("whole", ALL_FEATURES),
    View("lean", tuple(name for name in ALL_FEATURES if name not in COUNTS)),
)
