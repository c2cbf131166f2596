"""The numbers of evaluated architectures, a batch at a time; the archive of those on the front; refusals.

Where each evaluation counts, all of them are logged with their times.

Which networks of a front are shown, which is the best of them, and what is said of how many there are.

A front reaches down to networks so unlike all published ones that an estimator can only guess their accuracy:
4.4 points, give or take 83.6, is no offer. Such a network stays on the front and in its files, but it is left
out of the tables, and it is the best only where there is no other.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hvnas.arch import Arch
from hvnas.search.pareto import dominated, front
from hvnas.search.rows import Bools, Floats, Rows, row_keys

if TYPE_CHECKING:
    from hvnas.accuracy import AccuracyEstimator

# So many networks refused and none taken: it is not the networks.
_PATIENCE = 10
# A mistake in the options of an estimator fails every network; so many are enough to tell.
_GIVE_UP = 10
# Standard deviation of top-1, in points, above which an accuracy is a guess. Among random members of
# hybrid-mobile that the surrogate's guard takes for known, 99 % have at most 6.5 and hardly one has more.
GUESS_SD = 7.0
# Rows of a table of a front.
ROWS = 12
# How far apart the networks of a front are that are written as files, of the front's extent.
STEP = 0.01
# Of standard deviations in files: a front that is read back has the same guesses.
_DECIMALS = 3


@dataclass(frozen=True)
class Evaluations:
    """n evaluated architectures, one array [n] per number.

    `ms` with `low` and `high` (its 5-95 % interval) in milliseconds on the first device; `inside` the gates
    of all devices; `top1` and `sd` in points, or a score and 0, or nan where it was not worth estimating;
    `params` and `macs` as counts; `violation`, 0 where the architecture is feasible, else the relative
    excesses over budget and constraints plus the number of rules broken (gates and size limits); `excess`,
    where it is feasible the largest of those excesses, negative for the room left, else the violation.
    `costs` [n, k] holds the objectives, all to be minimised; `more` [n, m] what `Problem.more` names.
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
    excess: Floats
    costs: Floats
    more: Floats

    def __repr__(self) -> str:
        return f"Evaluations({len(self)} architectures, {int(self.feasible.sum())} feasible)"

    def __len__(self) -> int:
        return len(self.ms)

    @cached_property
    def objective(self) -> Floats:
        """Mean minus one standard deviation of top-1, in points: what a search maximises."""
        return self.top1 - self.sd

    @cached_property
    def feasible(self) -> Bools:
        """Within the budget, margin included, and the constraints, and no rule broken that counts."""
        return self.violation == 0

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the stored arrays by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def take(self, index: np.ndarray | slice) -> Evaluations:
        """Return the architectures at `index` (indices, a mask or a slice)."""
        return Evaluations(**{name: array[index] for name, array in self.arrays().items()})

    @staticmethod
    def join(parts: Sequence[Evaluations]) -> Evaluations:
        """Return several batches as one."""
        filled = [part for part in parts if len(part)] or list(parts[:1])
        names = [field.name for field in dataclasses.fields(Evaluations)]
        return Evaluations(
            **{name: np.concatenate([getattr(part, name) for part in filled]) for name in names}
        )

    @staticmethod
    def stored(arrays: Mapping[str, np.ndarray], *, prefix: str = "") -> Evaluations:
        """Return the batch whose `arrays`, each name with `prefix` before it, are among these.

        Raises KeyError where one is missing, ValueError where one is of another form.
        """
        found = Evaluations(**{f.name: arrays[prefix + f.name] for f in dataclasses.fields(Evaluations)})
        for name, array in found.arrays().items():
            shape = (len(found), *array.shape[1:2]) if name in ("costs", "more") else (len(found),)
            if array.shape != shape or array.dtype.kind != ("b" if name == "inside" else "f"):
                raise ValueError(f"{prefix}{name}: is of another form than {len(found)} numbers")
        return found

    @staticmethod
    def none() -> Evaluations:
        """Return an empty batch."""
        fields: dict[str, Any] = {f.name: np.empty(0) for f in dataclasses.fields(Evaluations)}
        fields["inside"] = np.empty(0, dtype=np.bool_)
        fields["costs"] = fields["more"] = np.empty((0, 0))
        return Evaluations(**fields)


class Archive:
    """The front so far, the first objective rising, and how many architectures were evaluated.

    `rows` int16 [k, genes] and `evaluations` of k architectures, all feasible. Of several architectures
    that are equal in every objective the one that came first stays.
    """

    def __init__(self, genes: int) -> None:
        self.rows: Rows = np.empty((0, genes), dtype=np.int16)
        self.evaluations = Evaluations.none()
        self.evaluated = 0

    def __repr__(self) -> str:
        return f"Archive({len(self)} on the front of {self.evaluated:,} evaluated)"

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, rows: Rows, evaluations: Evaluations) -> None:
        """Count n newly evaluated architectures and keep those that belong to the front."""
        self.evaluated += len(rows)
        candidates = np.flatnonzero(evaluations.feasible)
        candidates = candidates[~self._dominates(evaluations.take(candidates))]
        if len(candidates) == 0:
            return
        joined = Evaluations.join([self.evaluations, evaluations.take(candidates)])
        kept = front(joined.costs)
        self.rows = np.concatenate([self.rows, rows[candidates]])[kept]
        self.evaluations = joined.take(kept)

    def _dominates(self, evaluations: Evaluations) -> Bools:
        """Where a point is dominated by, or equal to, one in the archive."""
        if len(self) == 0:
            return np.zeros(len(evaluations), dtype=np.bool_)
        own, costs = self.evaluations.costs, evaluations.costs
        if own.shape[1] != 2:
            return dominated(costs, by=own)
        # The second cost rises along a front of two, the first falls.
        place = np.searchsorted(own[:, 1], costs[:, 1], side="right") - 1
        reached = np.where(place >= 0, own[np.maximum(place, 0), 0], np.inf)
        return reached <= costs[:, 0]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the front as plain arrays, to be stored."""
        named = {f"front.{name}": array for name, array in self.evaluations.arrays().items()}
        return {"front.rows": self.rows, **named}

    @staticmethod
    def stored(arrays: Mapping[str, np.ndarray], *, evaluated: int) -> Archive:
        """Return the archive whose `arrays` these are.

        Raises KeyError and ValueError as `Evaluations.stored`.
        """
        rows, evaluations = arrays["front.rows"], Evaluations.stored(arrays, prefix="front.")
        if rows.ndim != 2 or len(rows) != len(evaluations) or rows.dtype != np.int16:
            raise ValueError(f"front.rows: are not {len(evaluations)} encodings")
        if not np.isfinite(evaluations.costs).all() or not len(rows) <= int(evaluated):
            raise ValueError("front: holds values that no search finds")
        archive = Archive(rows.shape[1])
        archive.rows, archive.evaluations = rows, evaluations
        archive.evaluated = evaluated
        return archive

    @property
    def best(self) -> Evaluations | None:
        """The best by the first objective, a batch of one; None before anything feasible is found.

        One whose accuracy is a guess is the best only where there is no other.
        """
        return self.evaluations.take(np.array([best_place(self.evaluations.sd)])) if len(self) else None


class LoggedTrial(NamedTuple):
    """An evaluated network: its row, int16 [1, genes], its evaluation, and seconds since 1970.

    `reason` says why it has no accuracy, where that is known.
    """

    row: Rows
    evaluations: Evaluations
    started: float
    ended: float
    reason: str = ""


class TrialLog:
    """Every network that a search evaluated, each once, in the order in which they were done.

    Networks that were estimated in one call share their times, unless whoever estimated them told `spent`.
    """

    _ARRAYS, _REASONS = "trials.", "trials"

    def __init__(self) -> None:
        self.trials: list[LoggedTrial] = []
        self._keys: set[int] = set()
        self._spent: dict[int, tuple[float, float, str]] = {}

    def __len__(self) -> int:
        return len(self.trials)

    def spent(self, row: Rows, started: float, ended: float, reason: str = "") -> None:
        """Note when the network of a row [genes], which is added next, was estimated, or why it was not."""
        self._spent[int(row_keys(row[None])[0])] = (started, ended, reason)

    def add(
        self,
        rows: Rows,
        evaluations: Evaluations,
        *,
        started: float,
        ended: float | None = None,
        reason: str = "",
    ) -> None:
        """Take in n networks that are done, by default now; what is known already stays as it is."""
        usual = started, time.time() if ended is None else ended, reason
        new = []
        for i, key in enumerate(row_keys(rows).tolist()):
            if key not in self._keys:
                self._keys.add(key)
                began, done, why = self._spent.pop(key, usual)
                one = slice(i, i + 1)
                new.append(LoggedTrial(rows[one], evaluations.take(one), began, max(began, done), why))
        self.trials += sorted(new, key=lambda trial: trial.ended)

    def stored(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and plain data, for a checkpoint."""
        if not self.trials:
            return {}, {}
        arrays = Evaluations.join([trial.evaluations for trial in self.trials]).arrays()
        arrays["rows"] = np.concatenate([trial.row for trial in self.trials])
        arrays["times"] = np.array([(trial.started, trial.ended) for trial in self.trials])
        reasons = {str(i): trial.reason for i, trial in enumerate(self.trials) if trial.reason}
        return {self._ARRAYS + name: array for name, array in arrays.items()}, {self._REASONS: reasons}

    def restore(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Take in what `stored` returned, but for what is known; checkpoints of earlier versions have none.

        Raises KeyError and ValueError for what it cannot have been.
        """
        if self._REASONS not in meta:
            return
        rows, times = (arrays[self._ARRAYS + name] for name in ("rows", "times"))
        evaluations = Evaluations.stored(arrays, prefix=self._ARRAYS)
        if rows.dtype != np.int16 or rows.ndim != 2 or not len(rows) == len(evaluations) == len(times):
            raise ValueError("trials.rows: are not encodings, one for each evaluation")
        if times.shape[1:] != (2,) or not (np.isfinite(times).all() and (times[:, 0] <= times[:, 1]).all()):
            raise ValueError("trials.times: are not the beginning and the end of each evaluation")
        for i, (started, ended) in enumerate(times.tolist()):
            one, reason = slice(i, i + 1), str(meta[self._REASONS].get(str(i), ""))
            self.add(rows[one], evaluations.take(one), started=started, ended=ended, reason=reason)


@dataclass
class RefusalLog:
    """How many networks an estimator took, and for what reasons it refused others."""

    taken: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def estimate(
        self, estimator: AccuracyEstimator, archs: Sequence[Arch], *, recipe: str, scenario: str
    ) -> tuple[Floats, Floats]:
        """Mean and sd of each network, -inf and 0 where it is refused, such as one too deep for the images.

        Where one is refused all are asked about one at a time. Raises the estimator's ValueError where it
        has refused ten networks and taken none.
        """
        try:
            found = estimator.estimate(archs, recipe=recipe, scenario=scenario)
        except ValueError as error:
            if len(archs) > 1:
                singly = [self.estimate(estimator, [a], recipe=recipe, scenario=scenario) for a in archs]
                means, sds = zip(*singly, strict=True)
                return np.concatenate(means), np.concatenate(sds)
            self.refused[str(error)] += 1
            if not self.taken and self.refused.total() >= _PATIENCE:
                raise
            return np.array([-np.inf]), np.zeros(1)
        self.taken += len(archs)
        return found.mean, found.sd


def guesses(sd: Floats) -> Bools:
    """Where the standard deviation of an accuracy is too large to say anything. Shape [n]."""
    return np.asarray(np.round(sd, _DECIMALS) > GUESS_SD)


def best_place(sd: Floats) -> int:
    """The place of the best network of a front, the first objective improving along it; `sd` [n], n > 0."""
    known = np.flatnonzero(~guesses(sd))
    return int(known[-1]) if len(known) else len(sd) - 1


def shown_places(sd: Floats, written: Bools) -> list[int]:
    """The places of at most 12 networks of a front that a table shows.

    Evenly spaced over those that are `written` as files and whose accuracy is no guess, the first and the
    last among them; over all that are written where all are guesses. Shape [n] each.
    """
    known = written & ~guesses(sd)
    places = np.flatnonzero(known if known.any() else written)
    chosen = np.linspace(0, len(places) - 1, min(ROWS, len(places))).round().astype(int)
    return [int(place) for place in places[chosen]]


def front_words(members: int, rows: int) -> str:
    """``193 networks, 12 of them shown``."""
    if rows == members:
        return f"{networks(members)}, all shown"
    return f"{networks(members)}, {rows} of them shown"


def files_words(files: int, members: int) -> str:
    """A line on how many networks of a front are written as files, and which."""
    if files == members:
        return "written as files: all of them"
    return f"written as files: {files}, one for each step of {100 * STEP:g} % along the front"


def left_out_words(sd: Floats) -> list[str]:
    """A line on the networks of a front that no table shows, if there are any. Shape [n]."""
    guessed = int(guesses(sd).sum())
    if not guessed:
        return []
    why = f"a guess (± more than {GUESS_SD:g} points)"
    if guessed == len(sd):
        return [f"shown although the accuracy of every network, the best one's too, is {why}"]
    return [f"left out: {networks(guessed)} whose accuracy is {why}"]


def networks(count: int) -> str:
    """``1 network``, ``12 networks``."""
    return f"{count:,} network" + ("" if count == 1 else "s")


class EvaluationsFailed(ValueError):
    """Nothing but failures came back from those that evaluate; the message has the first reason."""


@dataclass
class FailureCount:
    """Counts failures, and ends a search in which there is nothing else.

    `on_failure` is called with the row, int16 [1, genes], and the reason of every failure.
    """

    on_failure: Callable[[Rows, str], None] | None = None
    failed: int = 0
    succeeded: int = 0
    first: str = ""

    def success(self) -> None:
        """A network was evaluated."""
        self.succeeded += 1

    def failure(self, row: Rows, reason: str) -> None:
        """A network was not. Raises EvaluationsFailed where that is all that ever happens."""
        self.failed += 1
        self.first = self.first or reason
        if self.on_failure is not None:
            self.on_failure(row, reason)
        if self.failed >= _GIVE_UP:
            self.check()

    def check(self) -> None:
        """Raise EvaluationsFailed where there were failures and nothing else."""
        if self.failed and not self.succeeded:
            raise EvaluationsFailed(
                f"estimator: all of the first {self.failed} networks failed; the first: {self.first}"
            )
