"""Searches on one storage, each with a Ray of its own."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

pytest.importorskip("ray")

OPTIONS = (
    "--space hybrid-tiny --budget-ms 5 --device iphone12 --outside allow --strategy tpe --evals 12 "
    "--estimator synthetic:seconds=0.2 --engine ray --workers 1 --storage shared.journal --json"
).split()


@pytest.mark.slow
def test_two_searches_share_a_study_and_end_alike(tmp_path: Path) -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "hvnas", "search", *OPTIONS, "--out", name],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for run in runs:
        _, errors = run.communicate(timeout=300)
        assert run.returncode == 0, errors
    fronts = [(tmp_path / name / "pareto.csv").read_text() for name in ("one", "two")]
    assert fronts[0] == fronts[1]
    assert 1 <= len(list(csv.DictReader(fronts[0].splitlines()))) <= 12
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "shared.journal")))
    trials = optuna.load_study(study_name=None, storage=storage).get_trials(states=[TrialState.COMPLETE])
    assert len({str(trial.params) for trial in trials}) == len(trials) == 12
