"""What an accuracy estimator is, the registry of them, their options and what they take for granted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hvnas import _numbers as numbers
from hvnas._files import refuse_unknown
from hvnas._names import WrongField, unknown_name, validated
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


def check_scenario(scenario: str) -> None:
    """Raises ValueError where no estimator speaks of `scenario`."""
    if scenario not in SCENARIOS:
        raise ValueError(unknown_name("scenario", scenario, SCENARIOS))


T = TypeVar("T")


def read_options(text: str, kind: type[T], *, family: str, **given: Any) -> T:
    """A dataclass `kind` of ``name=value,name=value`` and of the fields `given`.

    Raises ValueError, one line, naming the field at fault.
    """
    values: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{family}: {part!r} is no option; write name=value, separated by commas")
        values[name.strip()] = value.strip()
    names = (field.name for field in fields(kind) if field.name not in given)  # type: ignore[arg-type]
    refuse_unknown(values, names, "", f"{family}:{text}")
    try:
        return validated(kind, values | given, strict=False)
    except WrongField as wrong:
        raise ValueError(f"{family}: {wrong}" if wrong.place else wrong.said) from None


@runtime_checkable
class Assuming(Protocol):
    """An estimator that says what it takes for granted."""

    def assumptions(self, archs: Sequence[Arch]) -> tuple[str, ...]:
        """One sentence for each assumption about `archs`."""
        ...


def assumed_by(estimator: object, archs: Sequence[Arch]) -> tuple[str, ...]:
    """What `estimator` takes for granted about `archs`; nothing where it does not speak of that."""
    return estimator.assumptions(archs) if isinstance(estimator, Assuming) else ()


def assumptions(
    archs: Sequence[Arch], *, resolutions: tuple[int, int], classes: Sequence[int]
) -> tuple[str, ...]:
    """One sentence for each resolution and class count that the evidence does not hold.

    `resolutions` is the smallest and the largest of the evidence, `classes` the class counts there.
    """
    low, high = resolutions
    asked = sorted({arch.resolution for arch in archs if not low <= arch.resolution <= high})
    heads = sorted({arch.head.out for arch in archs} - set(classes))
    span = f"{low}" if low == high else f"{low} to {high}"
    known = ", ".join(map(str, sorted(classes)))
    return (
        *(
            f"resolution {side}: the evidence holds {span}; the effect of resolution is held at its edge"
            for side in asked
        ),
        *(
            f"{count} classes: the evidence holds {known}; the estimate is that of the network trained on "
            "those"
            for count in heads
        ),
    )


def estimator_error(estimator: Any) -> str:
    """One line: how far the estimator is off on families that it has not seen."""
    report = getattr(estimator, "error", None)
    overall = report.get("overall") if isinstance(report, Mapping) else None
    if not isinstance(overall, Mapping):
        return "The estimator of top-1 states no error."
    mae, tau = (numbers.optional(overall.get(key), digits=2) for key in ("mae", "tau"))
    return (
        f"top-1 is estimated, not trained; mean error on {overall.get('n')} published networks whose family "
        f"the fit has not seen: {mae} points, Kendall tau {tau}."
    )
