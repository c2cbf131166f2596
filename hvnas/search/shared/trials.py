"""What a trial holds, in a study that searches share and in that of a run: a network and its evaluation.

Parameters are the values of the genes, values those of the objectives. Beside what people and dashboards read
stand the row and the evaluation, from which a network is read back to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hvnas._files import write_atomic
from hvnas._optuna import constraint_marks
from hvnas.search.evaluations import Evaluations, LoggedTrial, TrialLog
from hvnas.search.objectives import LATENCY, TOP1, Objective
from hvnas.search.rows import Rows, row_keys
from hvnas.search.runs.result import Found, describe

if TYPE_CHECKING:
    import optuna

    from hvnas.search.problem import Problem

# User attributes of a trial.
ROW, KEY, WORKER, EVALUATION, REASON = "row", "key", "worker", "evaluation", "reason"
FEASIBLE = "feasible"
# User attributes of a study, and what it may hold: every network, or those that are written as files.
DESCRIPTION, HOLDS, UNIT = "description", "holds", "unit"
EVALUATED, FRONT = "evaluated", "front"
EVALUATED_WORDS = (
    "every network that the search evaluated, in the order in which they were done, with its times"
)
_NO_NUMBER = "the estimator gave no number"
_NOT_ASKED = "not estimated: something else forbids it"
# Optuna's codes: of what a line of a journal does, of a direction, of how a trial ended.
_CREATE_STUDY, _SET_USER_ATTR, _SET_SYSTEM_ATTR, _CREATE_TRIAL = 0, 2, 3, 4
_MINIMIZE, _MAXIMIZE = 1, 2
_COMPLETE, _FAIL = 1, 3


@dataclass(frozen=True)
class FinishedTrial:
    """A finished trial: its row int16 [1, genes], its evaluation, what the sampler had noted of it.

    `started` and `ended` are seconds since 1970.
    """

    row: Rows
    evaluations: Evaluations
    marks: Mapping[str, Any]
    started: float
    ended: float


@dataclass(frozen=True)
class TrialForm:
    """How networks of `problem` are told as trials."""

    problem: Problem

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """One for each objective."""
        return ["maximize" if what.sign < 0 else "minimize" for what in self.problem.objectives]

    @property
    def metrics(self) -> list[str]:
        """The names of the values."""
        return [str(what) for what in self.problem.objectives]

    @cached_property
    def choices(self) -> dict[str, list[Any]]:
        """The values of each gene."""
        return {gene.name: list(map(_as_category, gene.values)) for gene in self.problem.space.genes}

    @cached_property
    def distributions(self) -> dict[str, str]:
        """Those of the genes, as Optuna's journal has them."""
        return {
            name: json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": listed}})
            for name, listed in self.choices.items()
        }

    def indices(self, row: Rows) -> dict[str, int]:
        """The place of each gene's value in `choices`, of one row [genes]; of equal ones the first."""
        places = zip(self._firsts.items(), row.tolist(), strict=True)
        return {name: first[index] for (name, first), index in places}

    @cached_property
    def _firsts(self) -> dict[str, list[int]]:
        return {name: [listed.index(value) for value in listed] for name, listed in self.choices.items()}

    def params(self, row: Rows) -> dict[str, Any]:
        """The values of the genes of one row [genes]."""
        return {name: self.choices[name][index] for name, index in self.indices(row).items()}

    def values(self, found: Found) -> list[float]:
        """The values of the objectives: top-1 itself, not less its standard deviation."""
        return [_value(found, what) for what in self.problem.objectives]

    def attributes(self, found: Found) -> dict[str, Any]:
        """What people read of a network that is known without its accuracy."""
        told = {
            "name": found.name,
            "latency_ms": found.latency_ms,
            "params": found.params,
            "macs": found.macs,
            **found.more,
            "inside": found.inside,
        }
        # Of many networks that take no time the hashes alone would take seconds.
        return told if self.problem.cheap else told | {"arch": found.arch.hash}


class StudyFile:
    """The study called `name` of a run as Optuna's journal: a line for each network of a log, as it grows.

    The lines are those of Optuna's journal, which reads them.
    """

    def __init__(self, name: str, problem: Problem, log: TrialLog) -> None:
        self.name, self.log = name, log
        self.form = TrialForm(problem)
        self._written: int | None = None

    def write(self, path: Path, *, description: str = EVALUATED_WORDS) -> None:
        """Write what came since the last call; at first everything, in the place of what is there."""
        text = _text(self._trial_logs(self.log.trials[self._written or 0 :]))
        if self._written is None:
            logs = _study_logs(self.name, self.form, holds=EVALUATED, description=description)
            write_atomic(path, _text(logs) + text)
        elif text:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        self._written = len(self.log)

    def _trial_logs(self, trials: Sequence[LoggedTrial]) -> Iterator[dict[str, Any]]:
        if trials:
            rows = np.concatenate([trial.row for trial in trials])
            evaluations = Evaluations.join([trial.evaluations for trial in trials])
            yield from map(self._trial_log, trials, describe(self.form.problem, rows, evaluations))

    def _trial_log(self, trial: LoggedTrial, found: Found) -> dict[str, Any]:
        evaluations = trial.evaluations
        told = bool(np.isfinite(evaluations.costs).all())
        usual = _NOT_ASKED if np.isnan(evaluations.top1[0]) else _NO_NUMBER
        attributes = {
            **self.form.attributes(found),
            **found.accuracy_json(),
            FEASIBLE: bool(evaluations.feasible[0]),
            ROW: trial.row[0].tolist(),
            KEY: key_of(trial.row),
            EVALUATION: to_plain(evaluations),
        }
        return _trial_log(
            self.form,
            found,
            times=(trial.started, trial.ended),
            values=self.form.values(found) if told else None,
            attributes=attributes if told else attributes | {REASON: trial.reason or usual},
            marks=constraint_marks(float(evaluations.excess[0])),
        )


def write_front(path: Path, *, name: str, problem: Problem, front: Sequence[Found], description: str) -> None:
    """Write `front` as the finished trials of a study called `name`, in one step.

    Loading Optuna to have the lines written would take longer than a short search.
    """
    form, now = TrialForm(problem), datetime.now(tz=UTC).timestamp()
    logs = list(_study_logs(name, form, holds=FRONT, description=description))
    for found in front:
        told = {"name": found.name, "arch": found.arch.hash, "params": found.params, "macs": found.macs}
        told |= {"top1_sd": found.top1_sd, "inside": found.inside}
        values = form.values(found)
        logs.append(_trial_log(form, found, times=(now, now), values=values, attributes=told, marks={}))
    write_atomic(path, _text(logs))


def _text(logs: Iterable[Mapping[str, Any]]) -> str:
    lines = ({"op_code": log["op_code"], "worker_id": "hvnas-0", **log} for log in logs)
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def _study_logs(name: str, form: TrialForm, *, holds: str, description: str) -> Iterator[dict[str, Any]]:
    directions = [_MAXIMIZE if each == "maximize" else _MINIMIZE for each in form.directions]
    yield {"op_code": _CREATE_STUDY, "study_name": name, "directions": directions}
    metrics = {"study:metric_names": form.metrics}
    yield {"op_code": _SET_SYSTEM_ATTR, "study_id": 0, "system_attr": metrics}
    for key, value in ((DESCRIPTION, description), (HOLDS, holds), (UNIT, form.problem.unit)):
        yield {"op_code": _SET_USER_ATTR, "study_id": 0, "user_attr": {key: value}}


def _trial_log(
    form: TrialForm,
    found: Found,
    *,
    times: tuple[float, float],
    values: Sequence[float] | None,
    attributes: Mapping[str, Any],
    marks: Mapping[str, Any],
) -> dict[str, Any]:
    started, ended = (datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="microseconds") for at in times)
    single = values is not None and len(values) == 1
    return {
        "op_code": _CREATE_TRIAL,
        "study_id": 0,
        "datetime_start": started,
        "state": _FAIL if values is None else _COMPLETE,
        "value": values[0] if values is not None and single else None,
        "values": None if single else values,
        "datetime_complete": ended,
        "distributions": form.distributions,
        "params": form.indices(found.row),
        "user_attrs": dict(attributes),
        "system_attrs": dict(marks),
        "intermediate_values": {},
    }


def _value(network: Found, objective: Objective) -> float:
    if objective.metric == TOP1:
        return network.top1
    if objective.metric == LATENCY and objective.device is None:
        return network.latency_ms
    if str(objective) in network.more:
        return network.more[str(objective)]
    return float(getattr(network, objective.metric))


def _as_category(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def key_of(row: Rows) -> str:
    return f"{int(row_keys(row)[0]):016x}"


def row_of(trial: optuna.trial.FrozenTrial, genes: int) -> Rows:
    """The row int16 [1, genes] of a trial. Raises ValueError naming the trial where that is none."""
    try:
        row = np.array([trial.user_attrs[ROW]], dtype=np.int16)
    except (TypeError, ValueError, OverflowError):
        row = np.empty((0, 0), dtype=np.int16)
    if row.shape != (1, genes):
        raise ValueError(f"trial {trial.number}: row: must be {genes} whole numbers; the trial was damaged")
    return row


def finished_trial(
    trial: optuna.trial.FrozenTrial, genes: int, *, costs: int, more: int | None = None
) -> FinishedTrial:
    """What a finished trial holds, with so many `costs` and, where they are known, `more` numbers.

    Raises ValueError naming the trial where that is no evaluation.
    """
    row = row_of(trial, genes)
    try:
        evaluation = from_plain(trial.user_attrs[EVALUATION])
        numbers = evaluation.more.shape[1] if more is None else more
        if evaluation.costs.shape != (1, costs) or evaluation.more.shape != (1, numbers):
            raise ValueError
    except (TypeError, ValueError, KeyError, OverflowError):
        raise ValueError(f"trial {trial.number}: evaluation: cannot be read; the trial was damaged") from None
    if not isinstance(trial.system_attrs, Mapping):
        raise ValueError(f"trial {trial.number}: system_attrs: must be a mapping; the trial was damaged")
    return FinishedTrial(row, evaluation, trial.system_attrs, *_times_of(trial))


def is_running(trial: optuna.trial.FrozenTrial) -> bool:
    return bool(trial.state.name == "RUNNING")


def is_complete(trial: optuna.trial.FrozenTrial) -> bool:
    if not isinstance(trial.user_attrs, Mapping):
        raise ValueError(f"trial {trial.number}: user_attrs: must be a mapping; the trial was damaged")
    return bool(trial.state.name == "COMPLETE" and EVALUATION in trial.user_attrs)


def is_open_or_told(trial: optuna.trial.FrozenTrial) -> bool:
    return is_running(trial) or is_complete(trial)


def seconds_of(trial: optuna.trial.FrozenTrial) -> float:
    if trial.datetime_start is None or trial.datetime_complete is None:
        return 0.0
    return float((trial.datetime_complete - trial.datetime_start).total_seconds())


def _times_of(trial: optuna.trial.FrozenTrial) -> tuple[float, float]:
    """When it began and ended, in seconds since 1970."""
    if trial.datetime_start is None or trial.datetime_complete is None:
        raise ValueError(f"trial {trial.number}: times: has no start or no end; the trial was damaged")
    return trial.datetime_start.timestamp(), trial.datetime_complete.timestamp()


def to_plain(evaluations: Evaluations) -> dict[str, Any]:
    """One evaluation as plain data that JSON keeps to the last bit; what is not finite as text."""
    return {name: _plain(array[0].tolist()) for name, array in evaluations.arrays().items()}


def from_plain(data: Mapping[str, Any]) -> Evaluations:
    """The batch of one that `to_plain` wrote."""
    arrays = {}
    for name, empty in Evaluations.none().arrays().items():
        value = data[name]
        numbers = [float(v) for v in value] if empty.ndim == 2 else float(value)
        arrays[name] = np.array([numbers]).astype(empty.dtype)
    return Evaluations(**arrays)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if np.isfinite(value) else str(value)


@dataclass(frozen=True)
class EvaluatedNetwork:
    """A network as a search came by it: `number` of its trial, when, and what was found.

    `started_s` counts from the start of the first one; `seconds` is what it took. Top-1 and its standard
    deviation are in points (a score and 0 where the estimator only ranks), None where it has none, for a
    `reason`. `best` is the first objective of the best one so far; of top-1 the mean. The names of networks
    end in the first six digits of `key`; `encoding` are the genes as in pareto.csv.
    """

    number: int
    started_s: float
    seconds: float
    top1: float | None
    top1_sd: float | None
    latency_ms: float | None
    macs: int | None
    params: int | None
    feasible: bool
    best: float | None
    key: str
    encoding: str
    reason: str = ""

    def to_json(self, *, unit: str) -> dict[str, Any]:
        """Plain data, numbers in full; a score under its own name."""
        data = vars(self).copy()
        if unit == "score":
            del data["top1_sd"]
            data = {"score" if name == "top1" else name: value for name, value in data.items()}
        return data


def evaluated_networks(
    trials: Sequence[optuna.trial.FrozenTrial], objectives: Sequence[Objective]
) -> list[EvaluatedNetwork]:
    """The networks that trials hold, in the order in which they were done; claims given up are none.

    Raises ValueError naming a trial that was damaged.
    """
    told = [trial for trial in trials if trial.state.is_finished() and _is_evaluated(trial)]
    times = {trial.number: _times_of(trial) for trial in told}
    told.sort(key=lambda trial: times[trial.number][1])
    begun = min((started for started, _ in times.values()), default=0.0)
    found: list[EvaluatedNetwork] = []
    least, best = np.inf, None
    for trial in told:
        row = row_of(trial, np.size(trial.user_attrs[ROW]))
        started, ended = times[trial.number]
        numbers: dict[str, Any] = dict.fromkeys(("top1", "top1_sd", "latency_ms", "macs", "params"))
        feasible = False
        if EVALUATION in trial.user_attrs:
            one = finished_trial(trial, row.shape[1], costs=len(objectives)).evaluations
            feasible = is_complete(trial) and bool(one.feasible[0])
            if feasible and one.costs[0, 0] < least:
                least = one.costs[0, 0]
                best = float(one.top1[0] if objectives[0].metric == TOP1 else objectives[0].sign * least)
            numbers |= {"top1": _finite(one.top1), "top1_sd": _finite(one.sd), "latency_ms": _finite(one.ms)}
            numbers |= {name: _whole(getattr(one, name)) for name in ("macs", "params")}
        found.append(
            EvaluatedNetwork(
                trial.number,
                round(started - begun, _DECIMALS),
                round(ended - started, _DECIMALS),
                **numbers,
                feasible=feasible,
                best=best,
                key=key_of(row),
                encoding=" ".join(map(str, row[0].tolist())),
                reason=str(trial.user_attrs.get(REASON, "")),
            )
        )
    return found


# Of seconds: Optuna's times are to the microsecond.
_DECIMALS = 6


def _is_evaluated(trial: optuna.trial.FrozenTrial) -> bool:
    attributes = trial.user_attrs
    if not isinstance(attributes, Mapping):
        raise ValueError(f"trial {trial.number}: user_attrs: must be a mapping; the trial was damaged")
    return ROW in attributes and (EVALUATION in attributes or REASON in attributes)


def _finite(numbers: Any) -> float | None:
    return float(numbers[0]) if np.isfinite(numbers[0]) else None


def _whole(numbers: Any) -> int | None:
    return int(numbers[0]) if np.isfinite(numbers[0]) else None
