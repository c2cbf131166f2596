"""What an accuracy estimator is, and how one is found by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hvnas._names import unknown_name
from hvnas._registry import Late, Registry
from hvnas.accuracy.proxies.registry import COUNTED, PROBED
from hvnas.accuracy.ranks import settled
from hvnas.arch import Arch
from hvnas.ops import Column, Program, evaluate_columns

Array = NDArray[np.float64]

SCENARIOS = ("imagenet1k", "large-data")

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


Factory = Callable[[], AccuracyEstimator]
Family = Callable[[str], AccuracyEstimator]


class Located(NamedTuple):
    """What of an estimator's name leads to files.

    `name` has whole paths for them, so that it is found from any folder. `files` decide what is estimated:
    where one of them changes, it is another estimator.
    """

    name: str
    files: tuple[Path, ...] = ()


Locate = Callable[[str], Located]
_FACTORIES: Registry[Factory] = Registry("estimator", group="hvnas.estimators")
_FAMILIES: Registry[Family] = Registry("estimator", group="hvnas.estimator_families")
_ARGUMENTS: dict[str, str] = {}
_LOCATE: dict[str, Locate] = {}
_AND, _OWN = "+", ".json"
_COMBINED: Family = Late("hvnas.accuracy.combine:RankMean.of")
_FITTED: Family = Late("hvnas.accuracy.own:load_own")


def register_estimator(name: str) -> Callable[[Factory], Factory]:
    """Decorator: a function without arguments that makes the estimator called `name`."""
    return _FACTORIES.registering(name)


def register_estimator_family(
    name: str, *, argument: str = "OPTIONS", locate: Locate | None = None
) -> Callable[[Family], Family]:
    """Decorator: a function that makes an estimator of what stands behind ``name:``, such as options.

    `argument` is what to write there, as `list_estimators` shows it. `locate` names the files that it leads
    to; without it there are none.
    """

    def register(factory: Family) -> Family:
        _FAMILIES.add(name, factory)
        _ARGUMENTS[name] = argument
        if locate is not None:
            _LOCATE[name] = locate
        return factory

    return register


def _family(name: str) -> Family | None:
    return _FAMILIES[name] if _FAMILIES.has(name) else None


def list_estimators() -> tuple[str, ...]:
    """List the names that `load_estimator` takes, those of other packages' entry points included.

    A family stands with a colon and what to write behind it: ``supernet:DIR``.
    """
    families = (f"{family}:{_ARGUMENTS.get(family, 'OPTIONS')}" for family in _FAMILIES.names())
    return tuple(sorted({*_FACTORIES.names(), *families}))


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
        return _COMBINED(name)
    if name.endswith(_OWN):
        return _FITTED(name)
    before, colon, options = name.partition(":")
    family = _family(before) if colon else None
    if family is not None:
        return family(options)
    if not _FACTORIES.has(name):
        raise ValueError(_FACTORIES.unknown(name, list_estimators()))
    return _FACTORIES[name]()


def check_scenario(scenario: str) -> None:
    """Raises ValueError where no estimator speaks of `scenario`."""
    if scenario not in SCENARIOS:
        raise ValueError(unknown_name("scenario", scenario, SCENARIOS))


register_estimator("surrogate")(Late("hvnas.accuracy.surrogate:load_surrogate"))
register_estimator("train")(Late("hvnas.accuracy.short_training:ShortTrainingEstimator"))
register_estimator_family("train", argument="NAME=VALUE,…")(
    Late("hvnas.accuracy.short_training:from_options")
)
register_estimator_family("supernet", argument="DIR", locate=Late("hvnas.accuracy.inherited:locate"))(
    Late("hvnas.accuracy.inherited:from_options")
)
for _name in COUNTED:
    register_estimator(_name)(Late("hvnas.accuracy.proxies.estimators:CountEstimator.of", (_name,)))
for _name in PROBED:
    register_estimator(_name)(Late("hvnas.accuracy.proxies.estimators:ProbeEstimator", (_name,)))
