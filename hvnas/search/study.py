"""The Pareto archive as an Optuna study in a journal file, for ``optuna-dashboard``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvnas._files import write_atomic
from hvnas._optuna import quiet_optuna
from hvnas.search.objectives import LATENCY, TOP1, Objective
from hvnas.search.problem import Problem
from hvnas.search.result import Found


def write_study(path: Path, *, name: str, problem: Problem, front: Sequence[Found]) -> None:
    """Write `front` as the finished trials of a study called `name`, in one step.

    The objectives are those of `problem`; a trial's parameters are the values of its genes, its user
    attributes params, macs, arch (hash), top1_sd and inside.
    """
    space, objectives = problem.space, problem.objectives
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution
    from optuna.storages import JournalStorage
    from optuna.storages.journal import BaseJournalBackend

    distributions: dict[str, BaseDistribution] = {
        g.name: CategoricalDistribution([_plain(v) for v in g.values]) for g in space.genes
    }
    trials = [
        optuna.trial.create_trial(
            params={g.name: _plain(g.values[int(i)]) for g, i in zip(space.genes, found.row, strict=True)},
            distributions=distributions,
            values=[_value(found, objective) for objective in objectives],
            user_attrs={
                "name": found.name,
                "arch": found.arch.hash,
                "params": found.params,
                "macs": found.macs,
                "top1_sd": found.top1_sd,
                "inside": found.inside,
            },
        )
        for found in front
    ]
    logs: list[dict[str, Any]] = []

    class Buffer(BaseJournalBackend):
        # Optuna's own backend syncs the disk once per trial.
        def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
            return logs[log_number_from:]

        def append_logs(self, new: list[dict[str, Any]]) -> None:
            logs.extend(new)

    with quiet_optuna():
        study = optuna.create_study(
            study_name=name,
            storage=JournalStorage(Buffer()),
            directions=["maximize" if o.sign < 0 else "minimize" for o in objectives],
        )
        study.set_metric_names([str(o) for o in objectives])
        study.add_trials(trials)
    write_atomic(path, "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs))


def _value(found: Found, objective: Objective) -> float:
    """What a person calls the metric: top-1 itself, not less its standard deviation."""
    if objective.metric == TOP1:
        return found.top1
    if objective.metric == LATENCY and objective.device is None:
        return found.latency_ms
    if str(objective) in found.more:
        return found.more[str(objective)]
    return float(getattr(found, objective.metric))


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
