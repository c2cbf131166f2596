"""What is searched for: the best networks of a space within budgets, for one training recipe."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from hvnas import _numbers as numbers
from hvnas._request import Outside
from hvnas.accuracy.estimator import POINTS, AccuracyEstimator, ColumnEstimator, ImageSize, as_estimator
from hvnas.latency.device import LatencyArrays, LatencyDevice, as_device
from hvnas.ops import MACS, PARAMS, PEAK_MEMORY, Column
from hvnas.search.evaluations import Evaluations, RefusalLog, TrialLog
from hvnas.search.objectives import (
    DEFAULT,
    LATENCY,
    TOP1,
    Constraint,
    Objective,
    check_constraints,
    check_objectives,
)
from hvnas.search.rows import Bools, Features, Floats, Rows, SpaceLike, random_rows

if TYPE_CHECKING:
    from hvnas.space import Space


# Whose top-1 is estimated; see `Problem.evaluate`.
Accuracy = bool | Literal["allowed"]


# Of milliseconds and points. Matrix products round a row differently in batches of other sizes, and a run
# that was cut must break ties between equal networks as one that was not.
_DECIMALS = 9

# Of the deployed network, where batch norms are folded away.
SIZE = replace(PARAMS, name="deployed_params", fused=True)
# Bytes per weight by the first word of a device's precision; what is not named here is taken for float32.
_BYTES = {"float16": 2, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True, repr=False)
class Screened:
    """What is known of n architectures without their accuracy.

    `latencies` on each device, the first device's first; `values` [n] of each other metric that counts;
    `broken` counts the rules broken: of the gates where those count, and of the space's limits on size;
    it is 0 exactly where an architecture may be chosen. `over` [n, c] is the relative excess over the
    budget and over each constraint but those on top-1, negative within it.
    """

    latencies: tuple[LatencyArrays, ...]
    values: dict[str, Floats]
    broken: Floats
    over: Floats

    @property
    def latency(self) -> LatencyArrays:
        """On the first device."""
        return self.latencies[0]

    @property
    def barred(self) -> Floats:
        """How much forbids each architecture but for the budget: rules broken and constraints exceeded."""
        barred: Floats = self.broken + np.maximum(self.over[:, 1:], 0).sum(axis=1)
        return barred


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Space, devices, estimator, objectives and budgets.

    `objectives` are traded against each other; the first decides which network of the front is the best.
    `margin` is relative: an architecture is feasible where ``ms * (1 + margin) <= budget_ms`` on `device`,
    where it keeps every one of `constraints` (latencies with the same margin of their device in
    `other_margins`, top-1 as mean minus one standard deviation), and where it lies inside the gate of every
    device, or `outside` is ``allow``. `others` are further devices, for objectives and constraints.
    `seeds` are canonical rows, int16 [k, genes], that every strategy evaluates first. `features` computes
    the columns of canonical rows, ``[n, genes] -> [n, columns]``; by default that is the space's fast path.
    `pool` are canonical rows, int16 [m, genes], that random architectures are drawn from; None: the space.
    `refusals` counts what an estimator that takes whole networks refused, `trials` logs all it was asked for.

    Raises ValueError naming the field for a budget, margin or objective that makes no sense.
    """

    space: SpaceLike
    device: LatencyDevice
    estimator: AccuracyEstimator
    budget_ms: float
    margin: float = 0.0
    recipe: str = "modern300"
    scenario: str = "imagenet1k"
    outside: Outside = "forbid"
    objectives: tuple[Objective, ...] = DEFAULT
    constraints: tuple[Constraint, ...] = ()
    others: tuple[LatencyDevice, ...] = ()
    other_margins: tuple[float, ...] = ()
    seeds: Rows = field(default_factory=lambda: np.empty((0, 0), dtype=np.int16))
    features: Features | None = None
    pool: Rows | None = None
    refusals: RefusalLog = field(default_factory=RefusalLog, compare=False, repr=False)
    trials: TrialLog | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "estimator", as_estimator(self.estimator))
        object.__setattr__(self, "device", as_device(self.device))
        object.__setattr__(self, "others", tuple(map(as_device, self.others)))
        if not (math.isfinite(self.budget_ms) and self.budget_ms > 0):
            raise ValueError(
                f"budget_ms: must be a finite number > 0, got {self.budget_ms}; give milliseconds, such as 2"
            )
        for margin in (self.margin, *self.other_margins):
            if not (math.isfinite(margin) and 0 <= margin <= 10):
                raise ValueError(
                    f"margin: must be a number from 0 to 10, got {margin}; 0.1 keeps 10 % of reserve"
                )
        if self.outside not in ("forbid", "allow"):
            raise ValueError(f"outside: must be forbid or allow, got {self.outside!r}; choose one of the two")
        assert len(self.others) == len(self.other_margins), "a margin for each further device"
        check_objectives(self.objectives)
        check_constraints(self.constraints)
        for constraint in self.constraints:
            if constraint.relation == ">=":
                self._check_lower(constraint)

    def __repr__(self) -> str:
        kept = "".join(f", {constraint}" for constraint in self.constraints)
        devices = ", ".join(each.name for each in self.devices)
        return (
            f"{type(self).__name__}({self.space.name} on {devices} within {self.budget_ms:g} ms{kept}: "
            f"{', '.join(map(str, self.objectives))})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without what is computed once it is asked for: another process computes it again."""
        from hvnas.space import FastPath

        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        kept["trials"] = None
        return kept | ({"features": None} if isinstance(self.features, FastPath) else {})

    @property
    def devices(self) -> tuple[LatencyDevice, ...]:
        """All of them, the first first."""
        return (self.device, *self.others)

    @property
    def image_size(self) -> ImageSize | None:
        """The resolution and classes that every network was put to, each None where the space decides."""
        from hvnas.space import Space

        size = self.space.spec.image_size if isinstance(self.space, Space) else None
        return None if size is None else ImageSize(*size)

    @property
    def on_workers(self) -> bool:
        """Whether several workers share the evaluations of a batch."""
        return False

    @property
    def cheap(self) -> bool:
        """Whether the estimator reads columns only: microseconds a network. Else it takes the networks."""
        return self._reader is not None

    @property
    def _reader(self) -> ColumnEstimator | None:
        return self.estimator if isinstance(self.estimator, ColumnEstimator) else None

    @property
    def unit(self) -> str:
        """``points`` of top-1, or ``score`` where the estimator only ranks."""
        return self.estimator.unit

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every column that an evaluation needs, once each."""
        read = [column for device in self.devices for column in device.columns]
        own = self._reader.columns if self._reader and self._headed is None else ()
        return tuple(dict.fromkeys([*read, *own, PARAMS, MACS, *self._size_columns]))

    @cached_property
    def _size_columns(self) -> tuple[Column, ...]:
        columns = {"peak_memory": PEAK_MEMORY, "size_mb": SIZE}
        return tuple(columns[name] for name in self.sizes)

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """The metrics beside latency, top-1, params and MACs that some objective or constraint names."""
        named = {what.metric for what in (*self.objectives, *(c.what for c in self.constraints))}
        return tuple(name for name in ("peak_memory", "size_mb") if name in named)

    @cached_property
    def more(self) -> tuple[str, ...]:
        """What the columns of `Evaluations.more` hold."""
        kinds = ("latency_ms", "latency_low", "latency_high")
        return (*(f"{kind}@{device.name}" for device in self.others for kind in kinds), *self.sizes)

    @cached_property
    def _headed(self) -> Features | None:
        """What the estimator reads where it reads networks with another head than they are counted with."""
        from hvnas.space import FastPath, Space

        if self._reader is None or not isinstance(self.space, Space):
            return None
        classes = self._reader.read_classes
        if classes is None or self.space.spec.classes == (classes,):
            return None
        return FastPath(self.space.at(classes=classes), self._reader.columns)

    @property
    def own_features(self) -> bool:
        """Whether `features` is a function of its own and not the space's fast path."""
        from hvnas.space import FastPath

        return self.features is not None and not isinstance(self.features, FastPath)

    def keep_tables(self) -> None:
        """Leave what the fast path has worked out to later runs, in the user's cache folder."""
        from hvnas.space import FastPath

        if isinstance(self._features, FastPath):
            self._features.keep()

    @cached_property
    def _features(self) -> Features:
        if self.features is not None:
            return self.features
        from hvnas.space import FastPath

        space = cast("Space", self.space)
        path = FastPath(space, self.columns)
        space.read_sizes_from(path)
        return path

    def with_seeds(self, seeds: Rows) -> Problem:
        """Return the same problem with other seeds; what the fast path has tabulated is kept."""
        return replace(self, seeds=seeds, features=self._features)

    def _places(self, columns: Iterable[Column]) -> list[int]:
        place = {column: i for i, column in enumerate(self.columns)}
        return [place[column] for column in columns]

    @cached_property
    def _device_places(self) -> list[list[int]]:
        return [self._places(device.columns) for device in self.devices]

    @cached_property
    def _reader_places(self) -> list[int]:
        return [] if self._reader is None else self._places(self._reader.columns)

    @cached_property
    def _size_places(self) -> dict[str, int]:
        return dict(zip(("params", "macs"), self._places([PARAMS, MACS]), strict=True))

    def sample(self, n: int, *, rng: np.random.Generator, of_papers_size: bool = False) -> Rows:
        """Draw random architectures, canonical rows [n, genes], from `pool` or the space.

        Those `of_papers_size` have MACs in the range of the papers' networks; a pool is drawn from as it is.
        """
        if self.pool is not None:
            return self.pool[rng.integers(len(self.pool), size=n)]
        return random_rows(self.space, n, rng=rng) if of_papers_size else self.space.sample(n, rng=rng)

    def values(self, rows: Rows) -> Floats:
        """Return the values of `columns` for canonical rows. Shape [n, columns]."""
        return self._features(rows)

    def screen(self, rows: Rows) -> Screened:
        """Latencies and sizes of canonical rows and what they break, without the accuracy."""
        return self._screened(self.values(rows))

    def _screened(self, values: Floats) -> Screened:
        latencies = tuple(
            device.latency_columns(values[:, places])
            for device, places in zip(self.devices, self._device_places, strict=True)
        )
        assert all(np.isfinite(each.ms).all() for each in latencies), "a device gives every network a latency"
        counts = {name: np.rint(values[:, place]) for name, place in self._size_places.items()}
        found = counts | self._extra_sizes(values)
        for device, latency in zip(self.devices, latencies, strict=True):
            found[f"{LATENCY}@{device.name}"] = np.round(latency.ms, _DECIMALS)
        return Screened(latencies, found, self._broken(latencies, values), self._over(found))

    def _extra_sizes(self, values: Floats) -> dict[str, Floats]:
        found = dict(zip(self.sizes, values[:, self._places(self._size_columns)].T, strict=True))
        if "size_mb" in found:
            found["size_mb"] = found["size_mb"] * bytes_per_weight(self.device) / 1e6
        return found

    def _broken(self, latencies: Sequence[LatencyArrays], values: Floats) -> Floats:
        broken = np.zeros(len(values))
        if self.outside == "forbid":
            for latency in latencies:
                rules = np.zeros(len(values)) + sum(latency.excluded_by.values())
                broken += np.where(latency.inside, rules, np.maximum(rules, 1))
        for name, limit in self.space.limits.items():
            broken += values[:, self._size_places[name]] > limit
        return broken

    def _over(self, values: dict[str, Floats]) -> Floats:
        """The relative excess over the budget and every constraint that needs no accuracy. Shape [n, c]."""
        over = [(values[self._key(Objective(LATENCY))] * (1 + self.margin) - self.budget_ms) / self.budget_ms]
        over += [constraint.excess(self.bounded(constraint, values)) for constraint in self.screening]
        return np.stack(over, axis=1)

    def values_of(self, what: Objective, screened: Screened) -> Floats:
        """Return the values of a metric that is not top-1. Shape [n]."""
        return screened.values[self._key(what)]

    def bounded(self, constraint: Constraint, values: Mapping[str, Floats]) -> Floats:
        """Return what a constraint that needs no accuracy bounds, of `values` as in `Screened`."""
        return values[self._key(constraint.what)] * (1 + self._reserve(constraint))

    def _reserve(self, constraint: Constraint) -> float:
        """The margin that a bound is kept with: against being slower than predicted, so none from below."""
        return self._margin_of(constraint.what) if constraint.relation == "<=" else 0.0

    def _check_lower(self, lower: Constraint) -> None:
        """Raise ValueError where the bound from below asks for more than another bound leaves."""
        what = lower.what
        uppers = [
            (f"{c} leaves", c.bound / (1 + self._reserve(c))) for c in self.constraints if c.is_above(what)
        ]
        if what.metric == LATENCY and what.device in (None, self.device.name):
            uppers.append((f"the budget of {self.budget_ms:g} ms leaves", self.budget_ms / (1 + self.margin)))
        if what.metric in self.space.limits:
            uppers.append((f"{self.space.name} allows", self.space.limits[what.metric]))
        if what.metric == TOP1 and self.unit == POINTS:
            uppers.append(("there can be", 100.0))
        for said, most in uppers:
            if lower.bound > most:
                raise ValueError(
                    f"constraint: no network can meet {lower}: {said} at most {numbers.plain(most)}"
                    f"{', margin included' if what.metric == LATENCY else ''}; loosen one"
                )

    @cached_property
    def screening(self) -> tuple[Constraint, ...]:
        """The constraints that need no accuracy, in the order of `Screened.over` behind the budget."""
        return tuple(c for c in self.constraints if c.what.metric != TOP1)

    def _key(self, what: Objective) -> str:
        """Where `Screened.values` holds a metric that is not top-1."""
        return what.metric if what.metric != LATENCY else f"{LATENCY}@{what.device or self.device.name}"

    def _margin_of(self, what: Objective) -> float:
        if what.metric != LATENCY:
            return 0.0
        margins = dict(zip((d.name for d in self.devices), (self.margin, *self.other_margins), strict=True))
        return margins[what.device or self.device.name]

    def allowed(self, rows: Rows) -> Bools:
        """Return where nothing but the accuracy could make a canonical row infeasible. Shape [n]."""
        return _allowed(self.screen(rows))

    def evaluate(self, rows: Rows, *, accuracy: Accuracy = True) -> Evaluations:
        """Return all numbers of canonical rows, int16 [n, genes].

        Top-1 is nan everywhere without `accuracy`; with ``"allowed"`` it is nan, and takes no time, where
        something else forbids the network and no constraint on top-1 tells by how much.
        """
        if len(rows) == 0:
            return Evaluations.none()
        started = time.time()
        values = self.values(rows)
        screened = self._screened(values)
        wanted = np.full(len(rows), bool(accuracy))
        # What will not be chosen is not trained.
        if not self.cheap or (accuracy == "allowed" and len(self.screening) == len(self.constraints)):
            wanted &= _allowed(screened)
        found = self._evaluations(screened, *self._accuracy(rows, values, wanted))
        if self.trials is not None and accuracy and not self.cheap:
            self.trials.add(rows, found, started=started)
        return found

    def _accuracy(self, rows: Rows, values: Floats, wanted: Bools) -> tuple[Floats, Floats]:
        """Top-1 and its sd, nan where it is not `wanted`; a score has no sd. Shape [n] each."""
        mean, sd = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        if wanted.all():
            mean, sd = self._estimate(rows, values)
        elif wanted.any():
            mean[wanted], sd[wanted] = self._estimate(rows[wanted], values[wanted])
        if self.unit == "score":
            sd = np.where(wanted, 0.0, np.nan)
        return np.round(mean, _DECIMALS), np.round(sd, _DECIMALS)

    def cross_fitted(self, rows: Rows) -> tuple[Floats, Floats] | None:
        """Top-1 of canonical rows and its sd, which choosing them flatters less; None where not known.

        Shape [n] each; see `ColumnEstimator.cross_fitted_estimate`.
        """
        if self._reader is None or self.unit == "score":
            return None
        read = self._read(rows, self.values(rows))
        found = self._reader.cross_fitted_estimate(read, recipe=self.recipe, scenario=self.scenario)
        return None if found is None else (np.round(found.mean, _DECIMALS), np.round(found.sd, _DECIMALS))

    def chances_of_better(self, rows: Rows) -> Floats | None:
        """Chances that the first of n canonical rows has a higher top-1 than each other one. Shape [n - 1].

        All are trained alike. None where the estimator does not know.
        """
        if self._reader is None or self.unit == "score":
            return None
        read = self._read(rows, self.values(rows))
        return self._reader.chances_of_better(read, recipe=self.recipe, scenario=self.scenario)

    def joint(self, rows: Rows) -> tuple[Floats, Floats]:
        """Means [n] and covariance [n, n] of top-1 of canonical rows, in points; of columns alone.

        Raises ValueError where the estimator takes whole networks.
        """
        if self._reader is None:
            raise ValueError("estimator: states no covariance of networks; take surrogate")
        read = self._read(rows, self.values(rows))
        return self._reader.joint_columns(read, recipe=self.recipe, scenario=self.scenario)

    def _read(self, rows: Rows, values: Floats) -> Floats:
        """What the estimator reads of canonical rows with these values."""
        if self._headed is not None:
            return self._headed(rows)
        read: Floats = values[:, self._reader_places]
        return read

    def _estimate(self, rows: Rows, values: Floats) -> tuple[Floats, Floats]:
        if self._reader is None:
            archs = [self.space.decode(row) for row in rows]
            return self.refusals.estimate(self.estimator, archs, recipe=self.recipe, scenario=self.scenario)
        read = self._read(rows, values)
        found = self._reader.estimate_columns(read, recipe=self.recipe, scenario=self.scenario)
        return found.mean, found.sd

    def _evaluations(self, screened: Screened, top1: Floats, sd: Floats) -> Evaluations:
        found = screened.values | {TOP1: top1 - sd}
        scored = np.where(np.isfinite(found[TOP1]), found[TOP1], -np.inf)
        over = np.column_stack(
            [screened.over, *(c.excess(scored) for c in self.constraints if c.what.metric == TOP1)]
        )
        # A network whose accuracy cannot be told is not to be chosen either.
        lost = np.isneginf(scored) & _allowed(screened)
        violation = np.maximum(over, 0).sum(axis=1) + screened.broken + lost
        latency = screened.latency
        return Evaluations(
            ms=screened.values[self._key(Objective(LATENCY))],
            low=latency.low,
            high=latency.high,
            inside=np.logical_and.reduce([each.inside for each in screened.latencies]),
            top1=top1,
            sd=sd,
            params=screened.values["params"],
            macs=screened.values["macs"],
            violation=violation,
            excess=np.where(violation == 0, over.max(axis=1), violation),
            costs=self._costs(found | {TOP1: scored}),
            more=self._more(screened),
        )

    def _costs(self, values: dict[str, Floats]) -> Floats:
        return np.stack(
            [
                what.sign * values[TOP1 if what.metric == TOP1 else self._key(what)]
                for what in self.objectives
            ],
            axis=1,
        )

    def _more(self, screened: Screened) -> Floats:
        parts: list[Floats] = []
        for each in screened.latencies[1:]:
            parts += [np.round(each.ms, _DECIMALS), each.low, each.high]
        parts += [screened.values[name] for name in self.sizes]
        return np.stack(parts, axis=1) if parts else np.empty((len(screened.broken), 0))


def _allowed(screened: Screened) -> Bools:
    return np.asarray((screened.broken == 0) & (screened.over <= 0).all(axis=1))


def bytes_per_weight(device: LatencyDevice) -> int:
    """Return the bytes of a weight in the precision that the device's table speaks of."""
    precision = "float32" if device.info is None else device.info.precision
    return _BYTES.get(precision.split()[0], 4)


def rows_at_once(problem: Problem, most: int) -> int:
    """`most` where an evaluation costs microseconds or workers share a batch; else 1, so that no evaluation
    of seconds is lost to a run that is cut.
    """
    return most if problem.cheap or problem.on_workers else 1
