"""What an accuracy estimator is, the registry of them, their options and what they take for granted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hvnas import _numbers as numbers
from hvnas._files import refuse_unknown
from hvnas._names import WrongField, unknown_name, validated
from hvnas._records import html_of
from hvnas.accuracy.ranks import settled
from hvnas.arch import Arch
from hvnas.ops import Column, Program, evaluate_columns

Array = NDArray[np.float64]


SCENARIOS = ("imagenet1k", "large-data")


# What an estimate counts: points of top-1, or a score that only ranks networks.
POINTS, SCORE = "points", "score"

# Networks of an estimate that a notebook shows.
_SHOWN = 20

T = TypeVar("T")


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

    def _repr_html_(self) -> str:
        """The first of the networks, for notebooks."""
        name = "top-1" if self.unit == POINTS else SCORE
        pairs = zip(self.mean[:_SHOWN].round(2).tolist(), self.sd[:_SHOWN].round(2).tolist(), strict=True)
        rows = [{"network": i, name: mean, "sd": sd} for i, (mean, sd) in enumerate(pairs)]
        return html_of(rows, caption=f"estimated of {len(self.mean)}, at most {_SHOWN} shown")


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
        """Return the estimate that holds `scores`, those that are not finite made the worst."""
        return cls(settled(scores), np.full(len(scores), np.nan))

    @property
    def failed(self) -> int:
        """How many scores could not be computed."""
        return int(np.isneginf(self.mean).sum())


class ImageSize(NamedTuple):
    """The size of the images, in pixels a side, and the number of classes that networks are put to.

    What is None is each network's own.
    """

    resolution: int | None = None
    classes: int | None = None

    def __str__(self) -> str:
        said = (self.resolution, f"{self.resolution} px"), (self.classes, f"{self.classes} classes")
        return ", ".join(text for value, text in said if value is not None)


class AccuracyEstimator:
    """Estimates top-1 of networks under a stated recipe and scenario.

    An estimator of your own derives from this and has an `estimate`; everything else has a default.
    """

    @property
    def unit(self) -> str:
        """``points`` of top-1, or ``score`` where `estimate` only ranks networks."""
        return POINTS

    @property
    def meaning(self) -> str:
        """What its top-1 is that of, in a line; empty for training on the data of a scenario by a recipe."""
        return ""

    @property
    def image_size(self) -> ImageSize | None:
        """The size that it puts every network to; None where networks are scored as they are."""
        return None

    @property
    def relative(self) -> bool:
        """Whether scores compare only within one call; see `against`."""
        return False

    def label(self) -> str:
        """Return its name in messages and in studies that several searches share."""
        return type(self).__name__

    def check(self) -> None:
        """Raise ValueError where it cannot estimate anything; called before anything is written."""

    def against(self, references: Sequence[Arch]) -> AccuracyEstimator:
        """Return an estimator whose scores compare between calls, by comparing with `references`."""
        return self

    def assumptions(self, archs: Sequence[Arch]) -> tuple[str, ...]:
        """Return a sentence for each thing that it takes for granted about `archs`."""
        return ()

    def overall_error(self) -> Mapping[str, Any]:
        """Return `n`, `mae` in points and `tau` on families that it has not seen; nothing where not known."""
        return {}

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> Estimate:
        """Return one estimate per network, in order. Raises ValueError for a network that it cannot take."""
        raise NotImplementedError

    def estimate_cross_fitted(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> Estimate | None:
        """Return estimates that flatter a network less for being chosen; None, the default, without them."""
        return None


class ColumnEstimator(AccuracyEstimator):
    """An estimator that needs numbers of the Program only, and so serves whole populations at once.

    One of your own derives from this, and has `columns` and `estimate_columns`.
    """

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it reads of a plain Program, in the order that `estimate_columns` takes it."""
        raise NotImplementedError

    @property
    def read_classes(self) -> int | None:
        """The classes of the head with which it reads every network; None: each network's own."""
        return None

    def estimate_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate:
        """Return estimates from column values ``[n, len(columns)]``."""
        raise NotImplementedError

    def joint_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> tuple[Array, Array]:
        """Return means ``[n]`` and their covariance ``[n, n]``; errors are independent by default."""
        found = self.estimate_columns(values, recipe=recipe, scenario=scenario)
        return found.mean, np.diag(np.square(found.sd))

    def cross_fitted(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Array:
        """Return top-1 by fits that each lack some evidence, ``[n, fits]``; by default there are none."""
        return np.empty((len(values), 0))

    def cross_fitted_estimate(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate | None:
        """Return what those fits say together, which flatters a network less for being chosen.

        None, the default, where nothing is known beside the estimate.
        """
        return None

    def chances_of_better(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Array:
        """Return the chances that the first network is better than each of the others, trained alike.

        From the means and covariance of `joint_columns` by default. Shape [n - 1].
        """
        return chances(*self.joint_columns(values, recipe=recipe, scenario=scenario))

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> Estimate:
        """Return one estimate per network. Raises ValueError as `estimate_columns`.

        An Arch is read with a head of `read_classes`; a Program is read as it is.
        """
        return self.estimate_columns(self._values(archs_or_programs), recipe=recipe, scenario=scenario)

    def estimate_cross_fitted(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> Estimate | None:
        """As `cross_fitted_estimate`, of networks. Raises ValueError as `estimate`."""
        return self.cross_fitted_estimate(self._values(archs_or_programs), recipe=recipe, scenario=scenario)

    def _values(self, networks: Sequence[Arch | Program]) -> Array:
        """The columns of networks, each Arch with a head of `read_classes`. Shape [n, len(columns)]."""
        classes = self.read_classes
        headed = (
            each.with_(classes=classes) if classes is not None and isinstance(each, Arch) else each
            for each in networks
        )
        return values_of(self.columns, headed)


def as_estimator(thing: object) -> AccuracyEstimator:
    """Return `thing`, or what makes an estimator of it where it derives from none but has an `estimate`.

    Raises ValueError where it has neither `estimate` nor `columns` and `estimate_columns`.
    """
    if isinstance(thing, AccuracyEstimator):
        return thing
    if hasattr(thing, "columns") and hasattr(thing, "estimate_columns"):
        return _AdaptedColumns(thing)
    if hasattr(thing, "estimate"):
        return _Adapted(thing)
    raise ValueError(
        f"estimator: {type(thing).__name__} has no estimate(); "
        "derive it from hvnas.accuracy.AccuracyEstimator"
    )


@dataclass(frozen=True)
class _Adapted(AccuracyEstimator):
    """An object that estimates, with the defaults of what it does not have."""

    inner: Any

    @property
    def unit(self) -> str:
        return str(getattr(self.inner, "unit", super().unit))

    @property
    def meaning(self) -> str:
        return str(getattr(self.inner, "meaning", None) or super().meaning)

    @property
    def image_size(self) -> ImageSize | None:
        size = getattr(self.inner, "image_size", None)
        return None if size is None else ImageSize(*size)

    def label(self) -> str:
        return str(getattr(self.inner, "name", None) or type(self.inner).__name__)

    def check(self) -> None:
        getattr(self.inner, "check", super().check)()

    def assumptions(self, archs: Sequence[Arch]) -> tuple[str, ...]:
        return tuple(getattr(self.inner, "assumptions", super().assumptions)(archs))

    def overall_error(self) -> Mapping[str, Any]:
        report = getattr(self.inner, "error", None)
        overall = report.get("overall") if isinstance(report, Mapping) else None
        return overall if isinstance(overall, Mapping) else {}

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> Estimate:
        return _estimate_of(self.inner.estimate(archs_or_programs, recipe=recipe, scenario=scenario))


@dataclass(frozen=True)
class _AdaptedColumns(_Adapted, ColumnEstimator):
    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(self.inner.columns)

    @property
    def read_classes(self) -> int | None:
        return getattr(self.inner, "read_classes", None)

    def estimate_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate:
        return _estimate_of(self.inner.estimate_columns(values, recipe=recipe, scenario=scenario))

    def joint_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> tuple[Array, Array]:
        joint = getattr(self.inner, "joint_columns", super().joint_columns)
        mean, covariance = joint(values, recipe=recipe, scenario=scenario)
        return mean, covariance

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> Estimate:
        if hasattr(self.inner, "estimate"):
            return super().estimate(archs_or_programs, recipe=recipe, scenario=scenario)
        return ColumnEstimator.estimate(self, archs_or_programs, recipe=recipe, scenario=scenario)


def _estimate_of(found: Any) -> Estimate:
    return found if isinstance(found, Estimate) else Estimate(found.mean, found.sd)


def chances(mean: Array, covariance: Array) -> Array:
    """Chances that the first of n normal variables is larger than each of the others. Shape [n - 1].

    `mean` is [n], `covariance` [n, n].
    """
    variances = np.diag(covariance)
    spread = np.sqrt(np.maximum(variances[0] + variances[1:] - 2.0 * covariance[0, 1:], 1e-12))
    apart = (mean[0] - mean[1:]) / spread
    return np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in apart.tolist()])


def check_scenario(scenario: str) -> None:
    """Raises ValueError where no estimator speaks of `scenario`."""
    if scenario not in SCENARIOS:
        raise ValueError(unknown_name("scenario", scenario, SCENARIOS))


def read_options(text: str, kind: type[T], *, family: str, **given: Any) -> T:
    """A dataclass `kind` of ``name=value,name=value`` and of the fields `given`.

    Raises ValueError, one line, naming the field at fault.
    """
    values: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{family}: {part!r} is not an option; write name=value, separated by commas")
        values[name.strip()] = value.strip()
    names = (field.name for field in fields(kind) if field.name not in given)  # type: ignore[arg-type]
    refuse_unknown(values, names, "", f"{family}:{text}")
    try:
        return validated(kind, values | given, strict=False)
    except WrongField as wrong:
        raise ValueError(f"{family}: {wrong}" if wrong.place else wrong.said) from None


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


def estimator_error(estimator: AccuracyEstimator) -> str:
    """One line: how far the estimator is off on families that it has not seen."""
    overall = estimator.overall_error()
    if not overall:
        return "The estimator of top-1 states no error."
    mae, tau = (numbers.optional(overall.get(key), digits=2) for key in ("mae", "tau"))
    return (
        f"top-1 is estimated, not trained; mean error on {overall.get('n')} published networks whose family "
        f"the fit has not seen: {mae} points, Kendall tau {tau}."
    )
