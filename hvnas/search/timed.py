"""The front of a search by networks that were timed on the device: which to time next, and what they tell.

What a table misses of the networks that a search chooses is for the most part the same for all of them, for a
search looks for what the table takes for fast. So one factor corrects it. e = ln(measured / predicted) of
networks of the front is taken for normal about ln(factor), and the Student t in the device's file for what is
known beforehand: a normal-inverse-gamma prior (Gelman et al., Bayesian Data Analysis, section 3.3), whose
middle is worth one network. What follows for a further network is a Student t again: its interval and its
chance of the budget.

One factor changes no order among predicted latencies, so that the front stays the front; only where the
budget cuts it moves. A network that was timed stands on the front by its own time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hvnas.arch import Arch
from hvnas.latency.device import HIGH, LOW, Device, LatencyDevice
from hvnas.latency.model import ScaledModel
from hvnas.latency.scores import StudentT
from hvnas.search.evaluations import Archive, Evaluations, guesses
from hvnas.search.objectives import LATENCY, Objective
from hvnas.search.problem import Problem
from hvnas.search.rows import Bools, Floats, Rows, row_keys

if TYPE_CHECKING:
    from hvnas.latency.measure.backends import Backend
    from hvnas.latency.remote.measurements import MeasuredModel, ModelMeasurement

# A network keeps the budget where it would be within it with this chance if it was timed again.
SURE = 0.9
# What is hardly within the budget is not timed.
_HOPELESS = 0.05
# Of the prior: degrees of freedom at most, so that a few networks soon tell more than the file.
_MOST_DF = 4.0
# The relative standard deviation of timings of one network, where the device's file does not tell, and what
# it is worth in degrees of freedom. A validation states the mean difference of two, 1.128 times as much.
_REPEAT, _REPEAT_DF = 0.03, 4.0
_DIFFERENCE = 1.128
# The search goes on where the front ends below this share of the budget.
_SHORT = 0.97
_MOST_SEARCHES = 4


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one network on the device: `spread` is a standard deviation, `n` the runs."""

    ms: float
    spread: float | None = None
    n: int | None = None


Timings = Mapping[int, Timing]  # by the key of the row, see `row_keys`


def posterior(error: StudentT, e: Floats) -> StudentT:
    """What `e` [n] of measured networks make of the Student t that was known of e: that of a further one."""
    n, df = len(e), min(error.df, _MOST_DF)
    mean = float(e.mean()) if n else error.loc
    middle = (error.loc + n * mean) / (1 + n)
    squares = df * error.scale**2 + float(((e - mean) ** 2).sum()) + n / (1 + n) * (mean - error.loc) ** 2
    scale = math.sqrt(squares / (df + n) * (1 + 1 / (1 + n)))
    return StudentT(df + n, middle, scale)


def repeated(timings: Timings, *, least: float = _REPEAT) -> StudentT:
    """The Student t of ln(timed again / timed), from the spreads of all networks together.

    At `least` the relative standard deviation that is known beforehand: two timings in a row tell nothing of
    a machine that is slower an hour later.
    """
    relative = np.array([t.spread / t.ms for t in timings.values() if t.spread is not None])
    df = _REPEAT_DF + len(relative)
    variance = (_REPEAT_DF * least**2 + float((relative**2).sum())) / df
    # Of the mean of two timings, and of one more.
    return StudentT(df, 0.0, math.sqrt(1.5 * max(variance, least**2)))


def known_noise(device: LatencyDevice) -> float:
    """The relative standard deviation of timings of one network that the validation of a device found."""
    found: Any = device.report
    for key in ("validation", "noise_floor", "mape"):
        found = found.get(key) if isinstance(found, Mapping) else None
    is_number = isinstance(found, (int, float)) and 0 < found < 100
    return found / 100 / _DIFFERENCE if is_number else _REPEAT


def check_timed(problem: Problem) -> None:
    """Raise ValueError, one line, where networks that are timed could not order the front of `problem`."""
    if not isinstance(problem.device, Device):
        raise ValueError(f"measure: {problem.device.name} states no error that timings could correct")
    if problem.others:
        raise ValueError(
            "measure: takes one device, the one on which networks are timed; leave out the others"
        )
    if problem.device.info.batch != 1:
        raise ValueError(f"measure: {problem.device.name} is of batches; networks are timed at batch 1")
    if Objective(LATENCY) not in problem.objectives:
        raise ValueError("measure: needs a front of faster and slower networks; add --objective latency_ms")
    if any(c.what.metric == LATENCY for c in problem.constraints):
        raise ValueError("measure: takes no constraint on latency beside the budget; leave it out")


_REFINE = "search without --measure, then time networks there: hvnas refine RUN"


def check_host(device: LatencyDevice) -> str:
    """The backend of this host that times as the table of `device` was timed.

    Raises ValueError, one line, for a device that is not this host; it names what to do then.
    """
    from hvnas.latency.calibration.validation import host_backend

    try:
        return host_backend(device, remedy=_REFINE)
    except ValueError as error:
        raise ValueError(f"measure: {error}") from None


@dataclass
class HostTimer:
    """Times networks on this host as the device's table was timed; `keep` is given each of them."""

    problem: Problem
    keep: Callable[[Arch, ModelMeasurement], None]

    def time(self, row: Rows) -> Timing:
        """Time the network of a row. Raises ValueError as `check_host`."""
        from hvnas.latency.measure.run import network_row

        arch = self.problem.space.decode(row)
        found = network_row(arch, self._backend, source="hvnas search --measure")
        self.keep(arch, found)
        return Timing(found.ms, found.spread, found.n)

    @cached_property
    def _backend(self) -> Backend:
        from hvnas.latency.measure.backends import make_backend

        device = self.problem.device
        threads = None if device.info is None else device.info.threads
        return make_backend(check_host(device), threads=threads or 1)


def known_timings(problem: Problem, models: Sequence[MeasuredModel], where: Path) -> Timings:
    """What was timed of the networks of a space. Raises ValueError naming one that is not among them."""
    found: dict[int, Timing] = {}
    for model in models:
        try:
            row = np.asarray(problem.space.encode(model.arch), dtype=np.int16)
        except ValueError as error:
            raise ValueError(
                f"{where}: {model.name}: is no network of {problem.space.name}: {error}; leave its row out"
            ) from None
        batch, spread = model.row.batch, model.row.spread
        key = int(row_keys(row[None])[0])
        found[key] = Timing(model.ms, None if spread is None else spread / batch, model.row.n)
    return found


@dataclass(frozen=True, eq=False)
class TimedFront:
    """n networks that a search found, some of them timed.

    `rows` int16 [n, genes] with their `table` evaluations, by the device as its file has it; `evaluated`
    counts the architectures of the search. `timings` may hold networks that are not among them.
    """

    problem: Problem
    rows: Rows
    table: Evaluations
    evaluated: int
    timings: Timings

    @staticmethod
    def of(problem: Problem, archive: Archive, timings: Timings) -> TimedFront:
        """Return the front of a search with what was timed of it."""
        return TimedFront(problem, archive.rows, archive.evaluations, archive.evaluated, timings)

    @cached_property
    def keys(self) -> list[int]:
        """The key of each row."""
        found: list[int] = row_keys(self.rows).tolist()
        return found

    @cached_property
    def timed(self) -> Bools:
        """Who was timed. Shape [n]."""
        return np.array([key in self.timings for key in self.keys], dtype=np.bool_)

    @cached_property
    def error(self) -> StudentT:
        """That of ln(measured / predicted by the file) of a further network."""
        assert isinstance(self.problem.device, Device)
        return posterior(self.problem.device.inside_error, self._e)

    @cached_property
    def _e(self) -> Floats:
        times = np.array([self.timings[key].ms for key in self.keys if key in self.timings])
        return np.asarray(np.log(times / self.table.ms[self.timed]))

    @property
    def factor(self) -> float:
        """By which the table's predictions are corrected."""
        return math.exp(self.error.loc)

    @cached_property
    def repeat(self) -> StudentT:
        """That of ln(timed again / timed)."""
        return repeated(self.timings, least=known_noise(self.problem.device))

    @cached_property
    def device(self) -> Device:
        """The device with its predictions corrected."""
        device = self.problem.device
        assert isinstance(device, Device)
        outside = device.outside_error
        return replace(
            device,
            model=ScaledModel(device.model, self.factor),
            inside_error=replace(self.error, loc=0.0),
            outside_error=StudentT(outside.df, 0.0, max(outside.scale, self.error.scale)),
        )

    @cached_property
    def ms(self) -> Floats:
        """Measured milliseconds, or predicted and corrected ones. Shape [n]."""
        times = [self.timings[key].ms if key in self.timings else math.nan for key in self.keys]
        return np.where(self.timed, times, self.table.ms * self.factor)

    def chance(self, budget_ms: float) -> Floats:
        """The chance that each takes at most so much: if it was timed again, or when it is. Shape [n]."""
        predicted = self.device.p_within_of(
            self.ms, budget_ms, inside=self.table.inside, macs=self.table.macs
        )
        return np.where(self.timed, self.repeat.chance(budget_ms / self.ms), predicted)

    @cached_property
    def evaluations(self) -> Evaluations:
        """The evaluations with these latencies."""
        problem, ms = self.problem, self.ms
        ends = self.device.interval_of(ms, inside=self.table.inside, macs=self.table.macs)
        again = (ms * self.repeat.factor(p) for p in (LOW, HIGH))
        low, high = (np.where(self.timed, *both) for both in zip(again, ends, strict=True))
        reserve = np.where(self.timed, 1.0, 1 + problem.margin)
        over = (ms * reserve - problem.budget_ms) / problem.budget_ms
        violation = np.maximum(over, 0.0)
        costs = self.table.costs.copy()
        costs[:, problem.objectives.index(Objective(LATENCY))] = np.round(ms, 9)
        return replace(self.table, ms=ms, low=low, high=high, costs=costs, violation=violation, excess=over)

    @cached_property
    def _objective(self) -> Floats:
        return -self.evaluations.costs[:, 0]

    @cached_property
    def _known(self) -> Bools:
        """Whose accuracy is no guess; all where all are."""
        known = ~guesses(self.table.sd)
        return known if known.any() else np.ones(len(known), dtype=np.bool_)

    @cached_property
    def _kept(self) -> Bools:
        """Who was timed and keeps the budget."""
        return self.timed & self._known & (self.chance(self.problem.budget_ms) >= SURE)

    @cached_property
    def best(self) -> int | None:
        """The place of the best network that was timed and keeps the budget; None where none does."""
        return self._first(self._kept)

    def _first(self, among: Bools) -> int | None:
        """The place of the best by the first objective, of equal ones the fastest."""
        if not among.any():
            return None
        order = np.lexsort((self.ms, -self._objective))
        return int(next(k for k in order if among[k]))

    def next(self) -> int | None:
        """The place of the network to be timed next; None where no other may well be a better one.

        The one that is expected to gain most, the chance that it keeps the budget times what it is better
        than the best so far, of those that rather keep it than not; of the others where there are none such.
        """
        chance = self.chance(self.problem.budget_ms / self.repeat.factor(SURE))
        open_ = ~self.timed & self._known & (chance >= _HOPELESS)
        if self.best is not None:
            open_ &= self._objective > self._objective[self.best]
        if not open_.any():
            return None
        likely = open_ & (chance >= 0.5)
        open_ = likely if likely.any() else open_
        base = self._objective[open_].min() if self.best is None else self._objective[self.best]
        gain = np.where(open_, chance * (self._objective - base + 1e-9), -1.0)
        return int(gain.argmax())

    def spread(self, n: int) -> list[int]:
        """The places of `n` networks to be timed together, the slowest first; fewer where there are no more.

        For each of n quantiles of what the table may be off by, the best that keeps the budget then.
        """
        factors = [self.error.factor((k + 0.5) / n) / self.factor for k in range(n)]
        room = self.problem.budget_ms / self.repeat.factor(SURE)
        open_ = ~self.timed & self._known
        found: list[int] = []
        for factor in factors:
            place = self._first(open_ & (self.ms * factor <= room))
            if place is None:
                place = int(np.where(open_, self.ms, np.inf).argmin())
            if open_[place]:
                found.append(place)
                open_[place] = False
        return sorted(found, key=lambda k: -self.ms[k])

    @property
    def ends_short(self) -> bool:
        """Whether a device that is faster than its table leaves slower networks to be found."""
        return self.factor < 1 and float(self.ms.max()) < _SHORT * self.problem.budget_ms

    def searched_on(self, search: Callable[[Problem], Archive]) -> TimedFront:
        """Return this with what `search` finds on the corrected device."""
        found = search(replace(self.problem, device=self.device, margin=0.0).with_seeds(self.rows))
        new = ~np.isin(row_keys(found.rows), np.array(self.keys, dtype=np.uint64))
        rows = found.rows[new]
        return replace(
            self,
            rows=np.concatenate([self.rows, rows]),
            table=Evaluations.join([self.table, self.problem.evaluate(rows)]) if len(rows) else self.table,
            evaluated=self.evaluated + found.evaluated,
        )

    def front(self) -> Archive:
        """The front by these latencies, whose best is the best that was timed and keeps the budget.

        Networks that would be better, but were not timed or do not keep it, are left out. Where none that was
        timed keeps it, the best is the best of those that will with a chance of 0.9.
        """
        keeps = np.asarray(self.evaluations.feasible)
        best = self.best
        if best is None:
            sure = self.chance(self.problem.budget_ms) >= SURE
            best = self._first(keeps & ~self.timed & self._known & sure)
        if best is not None:
            keeps = keeps & (self._objective < self._objective[best])
            keeps[best] = True
        archive = Archive(self.rows.shape[1])
        archive.add(self.rows[keeps], self.evaluations.take(keeps))
        archive.evaluated = self.evaluated
        return archive

    def measured(self, rows: Rows) -> Floats:
        """Measured milliseconds of rows, nan of those that were not timed. Shape [n]."""
        found = [self.timings.get(key) for key in row_keys(rows).tolist()]
        return np.array([math.nan if timing is None else timing.ms for timing in found])

    def predicted(self, rows: Rows) -> Floats:
        """Milliseconds of `rows`, which are among these, by the device as its file has it. Shape [n]."""
        place = {key: k for k, key in enumerate(self.keys)}
        return self.table.ms[[place[key] for key in row_keys(rows).tolist()]]

    def places(self, rows: Rows) -> list[int]:
        """The places of those of `rows` that were timed."""
        found: list[int] = np.flatnonzero(np.isfinite(self.measured(rows))).tolist()
        return found

    def origin(self, row: Rows) -> dict[str, Any]:
        """What a network's file says of how its latency was obtained."""
        said = f"predicted, times {self.factor:.4f} by {int(self.timed.sum())} networks that were timed"
        timing = self.timings.get(int(row_keys(row[None])[0]))
        if timing is None:
            return {"latency_method": said}
        runs = "" if timing.n is None else f", {timing.n} runs"
        ms = {"measured_ms": round(timing.ms, 4)}
        known = np.flatnonzero((self.rows == row).all(axis=1))
        if len(known):
            ms["predicted_ms"] = round(float(self.table.ms[known[0]]), 4)
        return {"latency_method": f"measured: this network was timed on the device{runs}", **ms}

    def words(self) -> list[str]:
        """What the timings say, in lines."""
        count, name = int(self.timed.sum()), self.problem.device.name
        low, high = (self.error.factor(p) for p in (LOW, HIGH))
        told = [
            f"latencies that were not measured are those of the table of {name} times {self.factor:.3f}; "
            f"measured / table of a further network: {low:.2f}–{high:.2f} (5–95 %)"
        ]
        if self.best is None:
            told.append(
                f"none of the {count} timed keeps {self.problem.budget_ms:g} ms with a chance of {SURE:g}; "
                "the best one here is predicted, not measured"
            )
        else:
            told.append("the latency of the best network is measured, not predicted")
        if strangers := len(self.timings) - count:
            told.append(f"{strangers} further networks that were timed are not on this front")
        return told

    def to_json(self) -> dict[str, Any]:
        """Plain data: the correction with its interval, and every network that was timed."""
        budget = self.problem.budget_ms
        chances = self.chance(budget)
        spread = [self.error.factor(p) for p in (LOW, HIGH)]
        return {
            "networks": int(self.timed.sum()),
            "keeps_budget": self.best is not None,
            "factor": round(self.factor, 4),
            "factor_of_one": [round(value, 4) for value in spread],
            "timed": [
                {
                    "row": " ".join(map(str, self.rows[k].tolist())),
                    "predicted_ms": round(float(self.table.ms[k]), 4),
                    "measured_ms": round(float(self.ms[k]), 4),
                    "spread_ms": self.timings[self.keys[k]].spread,
                    "runs": self.timings[self.keys[k]].n,
                    "p_within_budget": round(float(chances[k]), 4),
                    "keeps_budget": bool(self._kept[k]),
                }
                for k in np.flatnonzero(self.timed)
            ],
        }


@dataclass
class Rounds:
    """Timing the networks of a front one after the other, each chosen by what is known by then.

    `known` are timings that were recorded before, which are taken instead of new ones: a run that was cut so
    arrives where it would have. `time` times the network of a row; `search` finds the front of a problem,
    None where that takes too long to be done again; `told` hears of each network that was timed, by its place
    on the front. `stopping` is asked before each.
    """

    known: Timings
    time: Callable[[Rows], Timing] | None
    search: Callable[[Problem], Archive] | None
    told: Callable[[TimedFront, int], None]
    stopping: Callable[[], bool]

    def run(self, front: TimedFront, count: int) -> tuple[TimedFront, bool]:
        """Time up to `count` networks; also return whether it was stopped before.

        Where nothing on the front can be better, and a faster device leaves room in the budget, the search
        goes on. What is known of other networks counts in the end.
        """
        searches = 0
        while len(front.timings) < count:
            place = front.next()
            if place is None:
                further = self._searched(front)
                searches += 1
                if len(further.rows) == len(front.rows) or searches > _MOST_SEARCHES:
                    break
                front = further
                continue
            key = front.keys[place]
            timing = self.known.get(key)
            if timing is None:
                if self.stopping():
                    return self._all(front), True
                assert self.time is not None
                timing = self.time(front.rows[place])
            front = replace(front, timings={**front.timings, key: timing})
            self.told(front, place)
        front = self._all(front)
        return (front if count else self._searched(front)), False

    def _all(self, front: TimedFront) -> TimedFront:
        return replace(front, timings={**self.known, **front.timings})

    def _searched(self, front: TimedFront) -> TimedFront:
        return front.searched_on(self.search) if self.search is not None and front.ends_short else front
