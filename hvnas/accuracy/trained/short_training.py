"""Estimator ``train``: train each network for a few epochs and count; halving ends the worse ones early.

Its top-1 is that of its own data set after its own short recipe, not ImageNet's; what it tells of a longer
training or of other data is the order of networks, as far as that carries over.

Successive halving of training runs, by Optuna's pruners.

The runs come one after the other. At epochs 1, r, r^2, ... a run goes on only if it is among the best 1 of r
of those that have come so far as well (asynchronous successive halving, 1810.05934): the first ones therefore
always go on. Hyperband (1603.06560) divides the runs among several first epochs.

Results are kept in a file, a line of JSON for each run. Processes may share it: a line is appended in one
write, so that lines never mix; a line that was cut off (a full disk, a machine that went down) is passed
over, and its run is trained again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from hvnas._files import append_line
from hvnas._json import parse_json
from hvnas._names import MOST_SEED, check_whole
from hvnas._optuna import quiet_optuna
from hvnas.accuracy.estimator import AccuracyEstimator, Array, Estimate, ImageSize, read_options
from hvnas.arch import Arch
from hvnas.ops import Program
from hvnas.train.recipes import Recipe, load_recipe, training_of
from hvnas.train.settings import training_to_json

if TYPE_CHECKING:
    import optuna

    from hvnas.train.data import Data
    from hvnas.train.state import EpochResult


NAME = "train"
Key = tuple[tuple[str, str | int], ...]
FILE = "results.jsonl"
NO_CACHE = "none"


# Standard deviation over seeds of top-1 after short training, in points, assumed for every network and data
# set: scripts/study_short_training.py prints 3.79 (digits, 3 epochs, 8 networks, 3 seeds).
SEED_SD = 3.8


@dataclass(frozen=True, kw_only=True)
class ShortTraining:
    """What a short training run is.

    `data` is a name for `hvnas.train.data.load_data`, with `resolution`, `train_size` and `test_size` as
    there. `recipe` has a training section; `epochs` replaces its own number. `halving` stops networks that
    fall behind: ``successive`` or ``hyperband`` (see `hvnas.accuracy.trained.short_training`); 1 of
    `reduction` goes on. `cache` is the folder of results, ``none`` for no file. `device` is torch's name,
    CUDA where there is one unless given.
    """

    data: str = "digits"
    epochs: int = 3
    recipe: str = "tiny"
    resolution: int | None = None
    train_size: int | None = None
    test_size: int | None = None
    seed: int = 0
    halving: Literal["none", "successive", "hyperband"] = "none"
    reduction: int = 3
    cache: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("reduction", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{NAME}: {name}: must be >= {least}, got {getattr(self, name)}")
        check_whole(f"{NAME}: seed", self.seed, least=0, most=MOST_SEED)


def parse_options(text: str) -> ShortTraining:
    """Options from ``data=digits,epochs=3``. Raises ValueError naming the field at fault."""
    return read_options(text, ShortTraining, family=NAME)


class ShortTrainingEstimator(AccuracyEstimator):
    """Top-1 on the validation split after a few epochs, of architectures that it trains itself.

    `sd` is the root of the sum of squares of what the validation split's size allows (binomial, with one
    right and one wrong answer added, so that a perfect score has an error too), of SEED_SD, and, where
    halving stopped a run, of how much the others gained after that epoch. A network whose loss stops being
    finite counts as chance.
    """

    def __init__(self, options: ShortTraining | None = None) -> None:
        self.options = options or ShortTraining()

    @property
    def meaning(self) -> str:
        """What its top-1 is that of, in a line."""
        epochs = "1 epoch" if self.options.epochs == 1 else f"{self.options.epochs} epochs"
        return f"on the validation split of {self.options.data} after {epochs} of training"

    @property
    def image_size(self) -> ImageSize:
        """The resolution and the classes of the data set, which is loaded. Raises ValueError as `check`."""
        return ImageSize(self.data.resolution, self.data.classes)

    def check(self) -> None:
        """Raise ValueError where the data set is not to be had, before anything is begun."""
        assert self.data.classes

    @cached_property
    def data(self) -> Data:
        """The data set, loaded on first use."""
        from hvnas.train.data import load_data

        options = self.options
        return load_data(
            options.data,
            resolution=options.resolution,
            train_size=options.train_size,
            test_size=options.test_size,
            seed=options.seed,
        )

    @cached_property
    def results(self) -> ResultFile:
        """Where curves are kept."""
        cache = self.options.cache
        if cache == NO_CACHE:
            return ResultFile(None)
        return ResultFile(Path(cache).expanduser() if cache else default_folder())

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str | None = None,
        scenario: str = "imagenet1k",
    ) -> Estimate:
        """Top-1 and sd of each network, trained where no result is kept.

        A `recipe` with a training section replaces the one of the options; one without is meant for estimates
        from published results, and passed over. So is `scenario`: the data set is its own. Raises ValueError,
        one line, for bare Programs and for networks that the resolution is too small for.
        """
        curves = self.curves(archs_or_programs, recipe=recipe)
        mean, gain_sd = _final(curves, self.options.epochs, chance=100.0 / self.data.classes)
        binomial = binomial_sd(mean, len(self.data.val))
        return Estimate(mean, np.sqrt(binomial**2 + SEED_SD**2 + gain_sd**2))

    def curves(
        self, archs_or_programs: Sequence[Arch | Program], *, recipe: str | None = None
    ) -> tuple[Curve, ...]:
        """Top-1 of each network after each epoch; shorter where halving stopped it. Raises as `estimate`."""
        from hvnas.train.fitting import fit_arch

        trained_as = self._recipe(recipe)
        archs = [fit_arch(_arch(network), self.data) for network in archs_or_programs]
        options = self.options
        return run_all(
            [self._steps(arch, trained_as) for arch in archs],
            epochs=options.epochs,
            halving=options.halving,
            reduction=options.reduction,
        )

    def _recipe(self, name: str | None) -> Recipe:
        if name is not None:
            recipe = load_recipe(name)
            if recipe.training is not None:
                return recipe
        recipe = load_recipe(self.options.recipe)
        training_of(recipe)
        return recipe

    def _steps(self, arch: Arch, recipe: Recipe) -> Generator[Curve, None, None]:
        """The curve of `arch`, one epoch longer each time; what is trained is kept when the caller stops."""
        key = self._key(arch, recipe)
        known = self.results.get(key)
        curve = Curve()
        for epoch in range(1, len(known.top1) + 1):
            curve = Curve(known.top1[:epoch])
            yield curve
        if known.diverged:
            yield known
            return
        if len(known.top1) >= self.options.epochs:
            return
        try:
            for trained in self._train(arch, recipe):
                if len(trained.top1) > len(known.top1) or trained.diverged:
                    curve = trained
                    yield curve
        finally:
            if curve != known:
                self.results.put(key, curve)

    def _train(self, arch: Arch, recipe: Recipe) -> Generator[Curve, None, None]:
        from hvnas.train.trainer import DivergedError, Trainer, network_for

        options = self.options
        trainer = Trainer(
            network_for(arch, self.data, recipe=recipe, seed=options.seed),
            self.data,
            recipe=recipe,
            epochs=options.epochs,
            seed=options.seed,
            device=options.device,
        )
        while not trainer.result.finished:
            try:
                trainer.epoch()
            except DivergedError:
                yield Curve(_tops(trainer.result.history), diverged=True)
                return
            yield Curve(_tops(trainer.result.history))

    def _key(self, arch: Arch, recipe: Recipe) -> Key:
        options = self.options
        return make_key(
            {
                "arch": arch.hash,
                "data": self.data.key,
                "training": training_to_json(training_of(recipe)),
                "epochs": options.epochs,
                "seed": options.seed,
                "device": options.device or "default",
            }
        )


def from_options(text: str) -> ShortTrainingEstimator:
    """The estimator of ``train:data=digits,epochs=3``, given what stands behind the colon."""
    return ShortTrainingEstimator(parse_options(text))


def _arch(network: Arch | Program) -> Arch:
    if isinstance(network, Arch):
        return network
    raise ValueError(
        f"estimator {NAME!r}: a bare Program has no weights to train; give the architecture, "
        "or use an estimator that reads Programs, such as surrogate"
    )


def _tops(history: Sequence[EpochResult]) -> tuple[float, ...]:
    return tuple(entry.top1 for entry in history)


def _final(curves: Sequence[Curve], epochs: int, *, chance: float) -> tuple[Array, Array]:
    """Top-1 at the last epoch and the sd of its extrapolation, in points. Shape [n] each.

    A run that was stopped is carried to the end by the mean gain of those that went on from the same epoch;
    the gains' spread, and where only one is known the gain itself, is the error of that.
    """
    whole = [curve.top1 for curve in curves if len(curve.top1) == epochs and not curve.diverged]
    mean, sd = np.empty(len(curves)), np.zeros(len(curves))
    for i, curve in enumerate(curves):
        if curve.diverged:
            mean[i] = chance
            continue
        at = len(curve.top1)
        mean[i] = curve.top1[-1]
        if at < epochs and whole:
            gains = np.array([top1[-1] - top1[at - 1] for top1 in whole])
            mean[i] = min(100.0, mean[i] + gains.mean())
            sd[i] = gains.std(ddof=1) if len(gains) > 1 else abs(gains[0])
    return mean, sd


def binomial_sd(top1: Array, count: int) -> Array:
    """Standard deviation of a share of `count` right answers, in points, one right and one wrong added."""
    share = (top1 / 100.0 * count + 1.0) / (count + 2.0)
    return np.asarray(100.0 * np.sqrt(share * (1.0 - share) / (count + 2.0)))


def run_all(
    runs: Sequence[Generator[Curve, None, None]], *, epochs: int, halving: str, reduction: int
) -> tuple[Curve, ...]:
    """The last curve of each run. Runs yield their curve after each epoch, and are closed where stopped."""
    if halving == "none":
        return tuple([Curve(), *run][-1] for run in runs)
    import optuna

    with quiet_optuna():
        study = optuna.create_study(
            direction="maximize",
            # Hyperband assigns runs by a hash of the study's name: a fixed one repeats.
            study_name="short-training",
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=_pruner(halving, epochs, reduction),
        )
        return tuple(_pruned(run, study, epochs) for run in runs)


def _pruner(halving: str, epochs: int, reduction: int) -> optuna.pruners.BasePruner:
    from optuna.pruners import HyperbandPruner, SuccessiveHalvingPruner

    if halving == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=reduction)
    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=reduction)


def _pruned(run: Generator[Curve, None, None], study: optuna.Study, epochs: int) -> Curve:
    from optuna.trial import TrialState

    trial = study.ask()
    curve = Curve()
    for curve in run:
        if curve.diverged:
            study.tell(trial, state=TrialState.FAIL)
            return curve
        trial.report(curve.top1[-1], step=len(curve.top1))
        if len(curve.top1) < epochs and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            run.close()  # which keeps what it has
            return curve
    study.tell(trial, curve.top1[-1])
    return curve


@dataclass(frozen=True)
class Curve:
    """Top-1 on the validation split after each epoch trained so far, in points.

    `diverged` where the loss stopped being finite after these epochs.
    """

    top1: tuple[float, ...] = ()
    diverged: bool = False


def make_key(fields: Mapping[str, str | int]) -> Key:
    """What tells runs apart; equal for equal fields in any order."""
    return tuple(sorted(fields.items()))


def default_folder() -> Path:
    """``hvnas/short_training`` in the user's cache folder (XDG_CACHE_HOME, else ``~/.cache``)."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "hvnas" / "short_training"


class ResultFile:
    """Curves by key; in memory alone where `folder` is None. Raises ValueError where it cannot be written."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / FILE
        self._curves: dict[Key, Curve] = {}
        self._read = 0  # bytes of the file that are in _curves

    def get(self, key: Key) -> Curve:
        """The longest curve known, other processes' included; an empty one where there is none."""
        self._refresh()
        return self._curves.get(key, Curve())

    def put(self, key: Key, curve: Curve) -> None:
        """Keep a curve."""
        self._learn(key, curve)
        if self.path is None:
            return
        line = json.dumps({**dict(key), "top1": list(curve.top1), "diverged": curve.diverged})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_line(self.path, line)
        except OSError as error:
            raise ValueError(
                f"{self.path}: cannot be written ({error.strerror}); choose another folder with cache=DIR"
            ) from None

    def _learn(self, key: Key, curve: Curve) -> None:
        if len(curve.top1) >= len(self._curves.get(key, Curve()).top1):
            self._curves[key] = curve

    def _refresh(self) -> None:
        """Take in the whole lines that were appended since the last look."""
        if self.path is None or not self.path.exists() or self.path.stat().st_size <= self._read:
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            entry = _parsed(line)
            if entry is not None:
                self._learn(*entry)


def _parsed(line: bytes) -> tuple[Key, Curve] | None:
    """The run and its curve, None where the line is none that `put` wrote."""
    try:
        fields = parse_json(line.decode())
        top1, diverged = fields.pop("top1"), fields.pop("diverged")
        known = all(isinstance(value, str | int) for value in fields.values()) and isinstance(diverged, bool)
        percentages = [float(value) for value in top1]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    if not known or not all(0.0 <= value <= 100.0 for value in percentages):
        return None
    return make_key(fields), Curve(tuple(percentages), diverged)
