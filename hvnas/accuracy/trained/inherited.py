"""Estimator ``supernet``: top-1 of a supernet's members with the weights they inherit.

Its top-1 is that of the supernet's own data set, without any training of the member itself: it is lower than
after a training of its own, and what it tells is the order of networks, as far as that carries over. The loss
tells networks apart that get equally many images right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hvnas.accuracy.estimator import (
    POINTS,
    SCORE,
    AccuracyEstimator,
    Estimate,
    ImageSize,
    ScoreEstimate,
    read_options,
)
from hvnas.accuracy.loading import Located
from hvnas.accuracy.trained.short_training import NO_CACHE, Curve, ResultFile, binomial_sd, make_key
from hvnas.arch import Arch
from hvnas.ops import Program

if TYPE_CHECKING:
    from hvnas.supernet.checkpoint import SupernetFolder
    from hvnas.supernet.supernet import Supernet
    from hvnas.train.data import Data, Split

NAME = "supernet"


@dataclass(frozen=True, kw_only=True)
class Inherited:
    """Where inherited weights come from, and how they are scored.

    `folder` is that of ``hvnas supernet train``. `bn_calib` is the number of training images that BatchNorm's
    statistics are recomputed from before each evaluation, 0 to take those of the training (None: as the
    training was asked). `images` bounds the images of the validation split, all classes alike. `cache` is the
    folder of results, ``none`` for no file, `folder` itself unless given. `device` is torch's name, CUDA
    where there is one unless given. `score` is what networks are ranked by: ``top1`` in points, or ``loss``,
    as 100 exp(-cross-entropy): the geometric mean, in per cent, of the shares that the right classes get.
    """

    folder: str
    bn_calib: int | None = None
    images: int | None = None
    cache: str | None = None
    device: str | None = None
    score: Literal["top1", "loss"] = "top1"

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise ValueError(f"{NAME}: images: must be >= 1, got {self.images}")


class InheritedEstimator(AccuracyEstimator):
    """Top-1 on the validation split of members of a supernet's space, with inherited weights, or their loss.

    `sd` of top-1 is what the number of validation images allows (binomial, with one right and one wrong
    answer added). It says nothing of how far the member would get by a training of its own. Supernet and
    data are loaded on first use, in each process anew; results are kept by architecture, weights and options.
    """

    def __init__(self, options: Inherited) -> None:
        # a process elsewhere may work in another folder
        self.options = replace(options, folder=str(Path(options.folder).expanduser().resolve()))
        if options.bn_calib is not None:
            from hvnas.supernet.scoring import check_bn_calib

            check_bn_calib(options.bn_calib)
        _ = self.folder.config  # what is no supernet is refused now

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options}

    @cached_property
    def folder(self) -> SupernetFolder:
        """The folder of the training."""
        from hvnas.supernet.checkpoint import SupernetFolder

        return SupernetFolder(self.options.folder)

    @property
    def image_size(self) -> ImageSize:
        """The resolution and the classes that the supernet was trained at."""
        return ImageSize(self.folder.config.resolution, self.folder.config.classes)

    @property
    def unit(self) -> str:
        """``points`` of top-1, ``score`` where networks are ranked by their loss."""
        return POINTS if self.options.score == "top1" else SCORE

    @property
    def bn_calib(self) -> int:
        """Images of BatchNorm recalibration."""
        own = self.options.bn_calib
        return self.folder.config.bn_calib if own is None else own

    @property
    def meaning(self) -> str:
        """What its top-1 is that of, in a line."""
        run = self.folder.config
        epochs = "1 epoch" if run.epochs == 1 else f"{run.epochs} epochs"
        calibrated = f"recalibrated on {self.bn_calib} images" if self.bn_calib else "as trained"
        return (
            f"on the validation split of {run.data} with weights inherited from a supernet "
            f"({run.scheme}, {epochs}), BatchNorm {calibrated}"
        )

    @cached_property
    def net(self) -> Supernet:
        """The supernet with the weights of the folder."""
        import torch

        device = self.options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        return self.folder.load().to(device)

    @cached_property
    def data(self) -> Data:
        """The data set that it was trained on."""
        return self.folder.config.load_data()

    @cached_property
    def split(self) -> Split:
        """The validation images that count."""
        from hvnas.train.data.splits import ArraySplit, subset

        val = self.data.val
        if self.options.images is None or self.options.images >= len(val):
            return val
        chosen = val.batch(subset(val.labels, self.options.images, seed=0))
        return ArraySplit(chosen.images, chosen.labels)

    @cached_property
    def results(self) -> ResultFile:
        """Where results are kept."""
        cache = self.options.cache
        if cache == NO_CACHE:
            return ResultFile(None)
        return ResultFile(Path(cache).expanduser() if cache else self.folder.path)

    @cached_property
    def _weights(self) -> str:
        from hvnas.supernet.checkpoint import digest

        return digest(self.net)

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str | None = None,
        scenario: str = "imagenet1k",
    ) -> Estimate:
        """Score and sd of each network. `recipe` and `scenario` have no say: the weights are there already.

        Raises ValueError, one line, for bare Programs and for networks outside the supernet's space.
        """
        members = [self._member(network) for network in archs_or_programs]
        mean = np.array([self._score(arch) for arch in members], dtype=np.float64)
        if self.options.score == "loss":
            return ScoreEstimate.of(mean)
        return Estimate(mean, binomial_sd(mean, len(self.split)))

    def _member(self, network: Arch | Program) -> Arch:
        if not isinstance(network, Arch):
            raise ValueError(
                f"estimator {NAME!r}: a bare Program has no place in a supernet; give the architecture, "
                "or use an estimator that reads Programs, such as surrogate"
            )
        try:
            self.net.encode(network)
        except ValueError as error:
            raise ValueError(
                f"{network.name}: the supernet in {self.folder.path} does not contain it: {error}"
            ) from None
        return self.net.fitted(network)

    def _score(self, arch: Arch) -> float:
        from hvnas.supernet.scoring import member_scores

        key: dict[str, str | int] = {
            "arch": arch.hash,
            "weights": self._weights,
            "data": self.data.key,
            "images": len(self.split),
            "bn_calib": self.bn_calib,
        }
        if self.options.score == "loss":
            key["score"] = "loss"
        known = self.results.get(make_key(key))
        if not known.top1:
            scores = member_scores(self.net, arch, self.data, bn_calib=self.bn_calib, split=self.split)
            value = scores.top1 if self.options.score == "top1" else 100 * float(np.exp(-scores.loss))
            known = Curve((value,))
            self.results.put(make_key(key), known)
        return known.top1[-1]


def locate(text: str) -> Located:
    """The files of the supernet behind ``supernet:``."""
    from hvnas.supernet.checkpoint import RUN, STATE

    folder, comma, options = text.partition(",")
    path = Path(folder).expanduser().resolve()
    return Located(f"{path}{comma}{options}", (path / RUN, path / STATE))


def from_options(text: str) -> InheritedEstimator:
    """The estimator of ``supernet:DIR,bn_calib=0``, given what stands behind the colon."""
    folder, _, options = text.partition(",")
    return InheritedEstimator(read_options(options, Inherited, family=NAME, folder=folder))
