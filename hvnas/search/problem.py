"""What is searched for: the best top-1 under a latency budget, on one device, for one training recipe."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from hvnas.ops import Column, Op
from hvnas.search.seams import (
    Bools,
    DeviceLike,
    EstimatorLike,
    Features,
    Floats,
    LatenciesLike,
    Rows,
    SpaceLike,
)

if TYPE_CHECKING:
    from hvnas.space import Space

Outside = Literal["forbid", "allow"]


# Of milliseconds and points. Matrix products round a row differently in batches of other sizes, and a run
# that was cut must break ties between equal networks as one that was not.
_DECIMALS = 9
# Relative; the fast path promises 1e-9.
_ROUNDING = 1e-10


def _params(op: Op) -> float:
    return float(op.params)


def _macs(op: Op) -> float:
    return float(op.macs)


PARAMS = Column("params", "sum", _params)
MACS = Column("macs", "sum", _macs)


@dataclass(frozen=True)
class Evaluations:
    """n evaluated architectures, one array [n] per number.

    `ms` with `low` and `high` (its 5-95 % interval) in milliseconds; `inside` the device's gate; `top1` and
    `sd` in points; `params` and `macs` as counts; `violation`, 0 where the architecture is feasible, else
    the relative excess over the budget plus the number of rules broken (gate and size limits).
    """

    ms: Floats
    low: Floats
    high: Floats
    inside: Bools
    top1: Floats
    sd: Floats
    params: Floats
    macs: Floats
    violation: Floats

    def __len__(self) -> int:
        return len(self.ms)

    @cached_property
    def objective(self) -> Floats:
        """Mean minus one standard deviation of top-1, in points: what a search maximises."""
        return self.top1 - self.sd

    @cached_property
    def feasible(self) -> Bools:
        """Within the budget, margin included, and no rule broken that counts."""
        return self.violation == 0

    def arrays(self) -> dict[str, np.ndarray]:
        """The stored arrays by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def take(self, index: np.ndarray | slice) -> Evaluations:
        """The architectures at `index` (indices, a mask or a slice)."""
        return Evaluations(**{name: array[index] for name, array in self.arrays().items()})

    @staticmethod
    def join(parts: Sequence[Evaluations]) -> Evaluations:
        """Several batches as one."""
        return Evaluations(
            **{name: np.concatenate([part.arrays()[name] for part in parts]) for name in parts[0].arrays()}
        )

    @staticmethod
    def stored(arrays: Mapping[str, np.ndarray], *, prefix: str = "") -> Evaluations:
        """The batch whose `arrays`, each name with `prefix` before it, are among these."""
        return Evaluations(**{f.name: arrays[prefix + f.name] for f in dataclasses.fields(Evaluations)})

    @staticmethod
    def none() -> Evaluations:
        """An empty batch."""
        fields: dict[str, Any] = {f.name: np.empty(0) for f in dataclasses.fields(Evaluations)}
        fields["inside"] = np.empty(0, dtype=np.bool_)
        return Evaluations(**fields)


@dataclass(frozen=True)
class Screened:
    """Latencies of n architectures and how many rules each breaks: of the gate where those count, and of
    the space's limits on size. `broken` is 0 exactly where an architecture may be chosen. Shape [n].
    """

    latency: LatenciesLike
    broken: Floats


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Space, device, estimator and budget.

    `margin` is relative: an architecture is feasible where ``ms * (1 + margin) <= budget_ms`` and where it
    lies inside the device's gate, or `outside` is ``allow``. `seeds` are canonical rows, int16 [k, genes],
    that every strategy evaluates first. `features` computes the columns of canonical rows,
    ``[n, genes] -> [n, columns]``; by default that is the space's fast path.

    Raises ValueError naming the field for a budget or margin that makes no sense.
    """

    space: SpaceLike
    device: DeviceLike
    estimator: EstimatorLike
    budget_ms: float
    margin: float = 0.0
    recipe: str = "modern300"
    scenario: str = "imagenet1k"
    outside: Outside = "forbid"
    seeds: Rows = field(default_factory=lambda: np.empty((0, 0), dtype=np.int16))
    features: Features | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.budget_ms) and self.budget_ms > 0):
            raise ValueError(
                f"budget_ms: must be a finite number > 0, got {self.budget_ms}; give milliseconds, such as 2"
            )
        if not (math.isfinite(self.margin) and 0 <= self.margin <= 10):
            raise ValueError(
                f"margin: must be a number from 0 to 10, got {self.margin}; 0.1 keeps 10 % of reserve"
            )
        if self.outside not in ("forbid", "allow"):
            raise ValueError(f"outside: must be forbid or allow, got {self.outside!r}; choose one of the two")

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every column that an evaluation needs, once each."""
        return tuple(dict.fromkeys([*self.device.columns, *self.estimator.columns, PARAMS, MACS]))

    @cached_property
    def _features(self) -> Features:
        if self.features is not None:
            return self.features
        from hvnas.space import FastPath

        return FastPath(cast("Space", self.space), self.columns)

    def with_seeds(self, seeds: Rows) -> Problem:
        """The same problem with other seeds; what the fast path has tabulated is kept."""
        return replace(self, seeds=seeds, features=self._features)

    def _places(self, columns: Iterable[Column]) -> list[int]:
        place = {column: i for i, column in enumerate(self.columns)}
        return [place[column] for column in columns]

    @cached_property
    def _device_places(self) -> list[int]:
        return self._places(self.device.columns)

    @cached_property
    def _size_places(self) -> dict[str, int]:
        return dict(zip(("params", "macs"), self._places([PARAMS, MACS]), strict=True))

    @cached_property
    def _estimator_places(self) -> list[int]:
        return self._places(self.estimator.columns)

    def values(self, rows: Rows) -> Floats:
        """The values of `columns` for canonical rows. Shape [n, columns].

        What is a whole number but for rounding is made one: counts then do not depend on the way, or the
        order, in which the fast path came to know them.
        """
        values = self._features(rows)
        whole = np.rint(values)
        with np.errstate(invalid="ignore"):  # a column to which no op contributed is infinite
            near = np.abs(values - whole) <= _ROUNDING * np.abs(whole)
        return np.where(near, whole, values)

    def screen(self, rows: Rows) -> Screened:
        """Latencies of canonical rows and the rules they break, without the accuracy."""
        return self._screened(self.values(rows))

    def _screened(self, values: Floats) -> Screened:
        latency = self.device.latency_columns(values[:, self._device_places])
        assert np.isfinite(latency.ms).all(), "a device must give every network a latency"
        broken = np.zeros(len(values))
        if self.outside == "forbid":
            broken += sum(latency.excluded_by.values())
            broken[~latency.inside] = np.maximum(broken[~latency.inside], 1)
        for name, limit in self.space.limits.items():
            broken += values[:, self._size_places[name]] > limit
        return Screened(latency, broken)

    def evaluate(self, rows: Rows) -> Evaluations:
        """Latency, top-1 and size of canonical rows, int16 [n, genes]."""
        if len(rows) == 0:
            return Evaluations.none()
        values = self.values(rows)
        screened = self._screened(values)
        latency = screened.latency
        accuracy = self.estimator.estimate_columns(
            values[:, self._estimator_places], recipe=self.recipe, scenario=self.scenario
        )
        ms = np.round(latency.ms, _DECIMALS)
        return Evaluations(
            ms=ms,
            low=latency.low,
            high=latency.high,
            inside=latency.inside,
            top1=np.round(accuracy.mean, _DECIMALS),
            sd=np.round(accuracy.sd, _DECIMALS),
            params=np.rint(values[:, self._size_places["params"]]),
            macs=np.rint(values[:, self._size_places["macs"]]),
            violation=self._excess(ms) + screened.broken,
        )

    def _excess(self, ms: Floats) -> Floats:
        """By how much `ms` and its margin exceed the budget, relative to it; 0 within it."""
        return np.maximum(ms * (1 + self.margin) - self.budget_ms, 0) / self.budget_ms
