"""What a trial of a shared study holds: the row, who claimed it, and its evaluation or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hvnas.search.evaluations import Evaluations
from hvnas.search.rows import Rows, row_keys

if TYPE_CHECKING:
    import optuna

# User attributes.
ROW, KEY, WORKER, EVALUATION, REASON = "row", "key", "worker", "evaluation", "reason"


@dataclass(frozen=True)
class FinishedTrial:
    """A finished trial: its row int16 [1, genes], its evaluation, what the sampler had noted of it."""

    row: Rows
    evaluations: Evaluations
    marks: Mapping[str, Any]


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


def finished_trial(trial: optuna.trial.FrozenTrial, genes: int, *, costs: int, more: int) -> FinishedTrial:
    """What a finished trial holds, with so many `costs` and `more` numbers.

    Raises ValueError naming the trial where that is no evaluation.
    """
    row = row_of(trial, genes)
    try:
        evaluation = from_plain(trial.user_attrs[EVALUATION])
        if evaluation.costs.shape != (1, costs) or evaluation.more.shape != (1, more):
            raise ValueError
    except (TypeError, ValueError, KeyError, OverflowError):
        raise ValueError(f"trial {trial.number}: evaluation: cannot be read; the trial was damaged") from None
    if not isinstance(trial.system_attrs, Mapping):
        raise ValueError(f"trial {trial.number}: system_attrs: must be a mapping; the trial was damaged")
    return FinishedTrial(row, evaluation, trial.system_attrs)


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
