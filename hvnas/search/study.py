"""The Pareto archive as an Optuna study in a journal file, for ``optuna-dashboard``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvnas._files import write_atomic
from hvnas._optuna import quiet_optuna
from hvnas.search.result import Found
from hvnas.search.seams import SpaceLike

METRICS = ("top1", "latency_ms")


def write_study(path: Path, *, name: str, space: SpaceLike, front: Sequence[Found]) -> None:
    """Write `front` as the finished trials of a study called `name`, in one step.

    Top-1 is maximised, latency minimised; a trial's parameters are the values of its genes, its user
    attributes params, macs, arch (hash), top1_sd and inside.
    """
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
            values=[found.top1, found.latency_ms],
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
            study_name=name, storage=JournalStorage(Buffer()), directions=["maximize", "minimize"]
        )
        study.set_metric_names(list(METRICS))
        study.add_trials(trials)
    write_atomic(path, "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs))


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
