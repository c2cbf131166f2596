"""What an accuracy estimator is, and how one is found by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hvnas._names import unknown_name
from hvnas.accuracy.ranks import settled
from hvnas.arch import Arch
from hvnas.ops import Column, Program, evaluate_columns

Array = NDArray[np.float64]

SCENARIOS = ("imagenet1k", "large-data")
ENTRY_POINTS = "hvnas.estimators"
FAMILY_ENTRY_POINTS = "hvnas.estimator_families"


# What an estimate counts: points of top-1, or a score that only ranks networks.
POINTS, SCORE = "points", "score"


class Estimate(NamedTuple):
    """Top-1 in percentage points and its standard deviation, one per network. Shape [n] each.

    `unit` says whether `mean` is in ``points`` or a ``score``; see `ScoreEstimate`.
    """

    mean: Array
    sd: Array

    @property
    def unit(self) -> str:
        """``points``."""
        return POINTS


def values_of(columns: Sequence[Column], networks: Iterable[Arch | Program]) -> Array:
    """The columns of networks, which are lowered, or of their Programs. Shape [n, len(columns)]."""
    programs = (item if isinstance(item, Program) else item.lower() for item in networks)
    values = np.array([evaluate_columns(columns, program) for program in programs])
    return values.reshape(len(values), len(columns))


class ScoreEstimate(Estimate):
    """Scores that rank networks and say nothing of top-1: higher is better, `sd` is nan.

    A score that could not be computed, or is infinite, is -inf: it ranks last and can be counted.
    """

    @property
    def unit(self) -> str:
        """``score``."""
        return SCORE

    @classmethod
    def of(cls, scores: Array) -> ScoreEstimate:
        """The estimate that holds `scores`, those that are not finite made the worst."""
        return cls(settled(scores), np.full(len(scores), np.nan))

    @property
    def failed(self) -> int:
        """How many scores could not be computed."""
        return int(np.isneginf(self.mean).sum())


@runtime_checkable
class AccuracyEstimator(Protocol):
    """Estimates top-1 of networks under a stated recipe and scenario."""

    def estimate(
        self, archs_or_programs: Sequence[Arch | Program], *, recipe: str = ..., scenario: str = ...
    ) -> Estimate:
        """One estimate per network, in order."""
        ...


class ImageSize(NamedTuple):
    """The size of the images, in pixels a side, and the number of classes that networks are put to.

    What is None is each network's own.
    """

    resolution: int | None = None
    classes: int | None = None

    def __str__(self) -> str:
        said = (self.resolution, f"{self.resolution} px"), (self.classes, f"{self.classes} classes")
        return ", ".join(text for value, text in said if value is not None)


@runtime_checkable
class SizedEstimator(Protocol):
    """An estimator that puts every network to the size and the classes of its own images."""

    @property
    def image_size(self) -> ImageSize | None:
        """That size; None where networks are scored as they are."""
        ...


def image_size_of(estimator: object) -> ImageSize | None:
    """The size that `estimator` puts networks to, None where it takes them as they are."""
    return estimator.image_size if isinstance(estimator, SizedEstimator) else None


@runtime_checkable
class HeadedEstimator(Protocol):
    """An estimator whose evidence is of heads of one size: it reads every network with such a head."""

    @property
    def read_classes(self) -> int | None:
        """The number of classes of that head; None where networks are read as they are."""
        ...


def read_classes_of(estimator: object) -> int | None:
    """The classes of the head with which `estimator` reads every network, None where it is each one's own."""
    return estimator.read_classes if isinstance(estimator, HeadedEstimator) else None


@runtime_checkable
class ColumnEstimator(AccuracyEstimator, Protocol):
    """An estimator that needs numbers of the Program only, and so serves whole populations at once."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it reads, in the order that `estimate_columns` takes it."""
        ...

    def estimate_columns(self, values: Array, *, recipe: str = ..., scenario: str = ...) -> Estimate:
        """Estimates from column values ``[n, len(columns)]``."""
        ...


Family = Callable[[str], AccuracyEstimator]


class Located(NamedTuple):
    """What of an estimator's name leads to files.

    `name` has whole paths for them, so that it is found from any folder. `files` decide what is estimated:
    where one of them changes, it is another estimator.
    """

    name: str
    files: tuple[Path, ...] = ()


Locate = Callable[[str], Located]
_FACTORIES: dict[str, Callable[[], AccuracyEstimator]] = {}
_FAMILIES: dict[str, Family] = {}
_ARGUMENTS: dict[str, str] = {}
_LOCATE: dict[str, Locate] = {}
_AND, _OWN = "+", ".json"


def register_estimator(
    name: str,
) -> Callable[[Callable[[], AccuracyEstimator]], Callable[[], AccuracyEstimator]]:
    """Decorator: a function without arguments that makes the estimator called `name`."""

    def register(factory: Callable[[], AccuracyEstimator]) -> Callable[[], AccuracyEstimator]:
        _FACTORIES[name] = factory
        return factory

    return register


def register_estimator_family(
    name: str, *, argument: str = "OPTIONS", locate: Locate | None = None
) -> Callable[[Family], Family]:
    """Decorator: a function that makes an estimator of what stands behind ``name:``, such as options.

    `argument` is what to write there, as `list_estimators` shows it. `locate` names the files that it leads
    to; without it there are none.
    """

    def register(factory: Family) -> Family:
        _FAMILIES[name], _ARGUMENTS[name] = factory, argument
        if locate is not None:
            _LOCATE[name] = locate
        return factory

    return register


def _family(name: str) -> Family | None:
    if name in _FAMILIES:
        return _FAMILIES[name]
    found = next((p for p in entry_points(group=FAMILY_ENTRY_POINTS) if p.name == name), None)
    return None if found is None else found.load()


def list_estimators() -> tuple[str, ...]:
    """List the names that `load_estimator` takes, those of other packages' entry points included.

    A family stands with a colon and what to write behind it: ``supernet:DIR``.
    """
    names = {*_FACTORIES, *(point.name for point in entry_points(group=ENTRY_POINTS))}
    families = {*_FAMILIES, *(point.name for point in entry_points(group=FAMILY_ENTRY_POINTS))}
    names |= {f"{family}:{_ARGUMENTS.get(family, 'OPTIONS')}" for family in families}
    return tuple(sorted(names))


def locate_estimator(name: str) -> Located:
    """The files that an estimator's name leads to. Nothing is read, and nothing has to be there."""
    parts = [_located(part) for part in name.split(_AND)]
    return Located(_AND.join(part.name for part in parts), tuple(f for part in parts for f in part.files))


def _located(name: str) -> Located:
    family, colon, argument = name.partition(":")
    if colon and _family(family) is not None:
        found = _LOCATE[family](argument) if family in _LOCATE else Located(argument)
        return Located(f"{family}:{found.name}", found.files)
    if name.endswith(_OWN):
        file = Path(name).resolve()
        return Located(str(file), (file,))
    return Located(name)


def load_estimator(name: str = "surrogate") -> AccuracyEstimator:
    """Load the estimator called `name`, which is made once. Raises ValueError naming those that exist.

    Several names joined by ``+``, such as ``surrogate+zico``, make one that ranks by all of them; see
    `hvnas.accuracy.combine`. Behind the name of a family and a colon stand options, such as
    ``train:data=digits,epochs=3``; see `hvnas.accuracy.short_training`.
    """
    return _made(name)


@cache
def _made(name: str) -> AccuracyEstimator:
    if _AND in name:
        from hvnas.accuracy.combine import RankMean

        return RankMean.of(name)
    if name.endswith(_OWN):
        from hvnas.accuracy.own import load_own

        return load_own(name)
    before, colon, options = name.partition(":")
    family = _family(before) if colon else None
    if family is not None:
        return family(options)
    if name in _FACTORIES:
        return _FACTORIES[name]()
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            made: AccuracyEstimator = point.load()()
            return made
    raise ValueError(unknown_name("estimator", name, list_estimators()))


def check_scenario(scenario: str) -> None:
    """Raises ValueError where no estimator speaks of `scenario`."""
    if scenario not in SCENARIOS:
        raise ValueError(unknown_name("scenario", scenario, SCENARIOS))
