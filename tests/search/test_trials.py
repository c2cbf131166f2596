"""Every network that a search evaluated is on record, with its times, and no kill loses or doubles one."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import sharing
import toy
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from test_resume import kill_soon, wait_for_new_state

from hvnas._optuna import constraint_marks
from hvnas.search.engines.ray_tune import evaluation_of, note_times, work_on
from hvnas.search.evaluations import TrialLog
from hvnas.search.objectives import parse_objective
from hvnas.search.problem import Problem
from hvnas.search.runs.checkpoint import FolderCheckpoint, State
from hvnas.search.runs.folder import SearchFolder
from hvnas.search.shared.trials import evaluated_networks
from hvnas.testing.estimators import Synthetic, expensive_problem

RECORDED = [("predictor", True), ("tpe", True), ("grid", True), ("evolution", True), ("nsga2", False)]


def study_of(out: Path) -> optuna.Study:
    return optuna.load_study(
        study_name=None, storage=JournalStorage(JournalFileBackend(str(out / "study.journal")))
    )


def check_network(trial: FrozenTrial, problem: Problem) -> None:
    """What a trial says of its network is what an evaluation says."""
    row = np.array([trial.user_attrs["row"]], dtype=np.int16)
    genes = toy.LANDSCAPE.space.genes
    assert trial.params == {gene.name: gene.values[i] for gene, i in zip(genes, row[0], strict=True)}
    found = problem.evaluate(row)
    attributes = trial.user_attrs
    assert attributes["latency_ms"] == found.ms[0] and attributes["macs"] == found.macs[0]
    assert attributes["params"] == found.params[0] and attributes["name"].endswith(attributes["key"][:6])
    if trial.state == TrialState.COMPLETE:
        assert trial.values == [found.top1[0], found.ms[0]] and attributes["feasible"] == found.feasible[0]
        assert constraint_marks(float(found.excess[0])).items() <= trial.system_attrs.items()
        assert "reason" not in attributes
    else:
        assert (trial.state, attributes["feasible"]) == (TrialState.FAIL, False)
        assert attributes["reason"] == "not estimated: something else forbids it"


@pytest.mark.parametrize(("strategy", "expensive"), RECORDED)
def test_every_network_is_on_record_in_order(tmp_path: Path, strategy: str, expensive: bool) -> None:
    out, before = tmp_path / "run", time.time()
    result = toy.run(out, strategy, evals=30, expensive=expensive)
    study = study_of(out)
    assert study.user_attrs["description"].startswith("every network that the search evaluated")
    assert study.metric_names == ["top1", "latency_ms"] and len(study.trials) == result.evaluated == 30
    for trial in study.trials:
        check_network(trial, toy.problem(out, expensive=expensive))
    frame = study.trials_dataframe()
    assert frame.datetime_complete.is_monotonic_increasing
    assert (frame.datetime_start <= frame.datetime_complete).all()
    began = study.trials[0].datetime_start
    assert began is not None and before - 1 < began.timestamp() < time.time()
    assert len({trial.user_attrs["key"] for trial in study.trials}) == 30
    found = optuna.importance.get_param_importances(study, target=lambda trial: -trial.values[0])
    assert len(found) == 8 and np.isfinite(list(found.values())).all()
    named = {found.name for found in result.front}
    assert named <= {trial.user_attrs["name"] for trial in study.trials}
    record = SearchFolder(out).record()
    assert record.networks is not None and len(record.networks) == 30
    best = [network.best for network in record.networks]
    assert best[-1] == result.best.top1
    assert [each.number for each in record.networks] == list(range(30))


def test_the_best_so_far_is_the_one_that_the_search_takes(tmp_path: Path) -> None:
    result = toy.run(tmp_path / "run", "tpe", evals=30, expensive=True)
    record = SearchFolder(tmp_path / "run").record()
    assert record.networks is not None
    least, expected = np.inf, []
    for each in record.networks:
        if each.feasible and each.top1 is not None and each.top1_sd is not None:
            least = min(least, each.top1_sd - each.top1)
        expected.append(None if np.isinf(least) else least)
    told = [None if each.best is None else 0.5 - each.best for each in record.networks]
    assert told == pytest.approx(expected)
    assert result.best.objective == pytest.approx(-least)


@pytest.mark.parametrize("strategy", ["predictor", "tpe"])
def test_a_kill_loses_and_doubles_no_trial(tmp_path: Path, strategy: str) -> None:
    (tmp_path / "a").mkdir()
    out, evals = tmp_path / "a" / "run", 40
    process = toy.start(out, strategy, evals=evals, pause=0.01, expensive=True)
    wait_for_new_state(out, process, since=0.0)
    kill_soon(process, after=0.1)
    state = FolderCheckpoint(out / ".state", every=0).load()
    assert state is not None
    saved = len(state.arrays["trials.rows"])
    # The study is written as the search goes on, each network once it is saved.
    before = SearchFolder(out).record().networks if (out / "study.journal").exists() else ()
    assert before is not None and saved - 1 <= len(before) <= saved
    toy.run(out, strategy, evals=evals, expensive=True)
    trials = study_of(out).trials
    assert len(trials) == evals == len({trial.user_attrs["key"] for trial in trials})
    (tmp_path / "b").mkdir()
    toy.run(tmp_path / "b" / "run", strategy, evals=evals, expensive=True)
    whole = study_of(tmp_path / "b" / "run").trials
    assert [each.user_attrs["row"] for each in trials] == [each.user_attrs["row"] for each in whole]
    assert [each.values for each in trials] == [each.values for each in whole]
    # Those that were done before the kill keep their times.
    times = state.arrays["trials.times"].tolist()
    told = [
        [at.timestamp() for at in (trial.datetime_start, trial.datetime_complete) if at is not None]
        for trial in trials[: len(times)]
    ]
    assert np.allclose(told, times, atol=1e-5, rtol=0)
    before = SearchFolder(out).record()
    assert toy.run(out, strategy, evals=evals, expensive=True).evaluated == evals
    assert SearchFolder(out).record() == before


def test_a_search_by_generations_says_that_it_keeps_no_record(tmp_path: Path) -> None:
    result = toy.run(tmp_path / "run", evals=3000)
    study = study_of(tmp_path / "run")
    assert study.user_attrs["description"].startswith("no history: 3,000 networks were evaluated in whole")
    assert len(study.trials) == len(result.front)
    record = SearchFolder(tmp_path / "run").record()
    assert record.networks is None and record.description == study.user_attrs["description"]


def test_a_run_of_an_earlier_version_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, kept = tmp_path / "run", FolderCheckpoint.save

    def save(checkpoint: FolderCheckpoint, state: State) -> None:
        arrays = {name: array for name, array in state.arrays.items() if not name.startswith("trials.")}
        meta = {name: value for name, value in state.meta.items() if name != "trials"}
        kept(checkpoint, State(arrays=arrays, meta=meta, keys=state.keys))
        if len(arrays.get("rows", ())) >= 12:
            raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(FolderCheckpoint, "save", save)
        with pytest.raises(ZeroDivisionError):
            toy.run(out, "tpe", evals=30, expensive=True)
    toy.run(out, "tpe", evals=30, expensive=True)
    study = study_of(out)
    assert study.user_attrs["description"].startswith(f"the last {len(study.trials)} networks; ")
    assert 15 <= len(study.trials) <= 20
    toy.run(tmp_path / "whole", "tpe", evals=30, expensive=True)
    assert toy.outputs(out) == toy.outputs(tmp_path / "whole")


def test_a_log_is_restored_and_refuses_what_it_cannot_have_been() -> None:
    log, problem = TrialLog(), toy.LANDSCAPE.problem()
    rows = problem.sample(6, rng=np.random.default_rng(0))
    log.spent(rows[2], 3.0, 9.0)
    log.spent(rows[3], 3.0, 7.0, "out of memory")
    log.add(rows[:4], problem.evaluate(rows[:4]), started=5.0, ended=8.0)
    log.add(rows, problem.evaluate(rows), started=9.0, ended=10.0)
    assert [trial.ended for trial in log.trials] == [7.0, 8.0, 8.0, 9.0, 10.0, 10.0]
    arrays, meta = log.stored()
    again = TrialLog()
    again.restore(arrays, meta)
    again.restore(arrays, meta)
    assert [(each.started, each.ended, each.reason) for each in again.trials] == [
        (each.started, each.ended, each.reason) for each in log.trials
    ]
    assert again.trials[0].reason == "out of memory"
    for wrong in (
        {"trials.times": arrays["trials.times"] * np.nan},
        {"trials.rows": arrays["trials.rows"][1:]},
    ):
        with pytest.raises(ValueError, match=r"^trials\."):
            TrialLog().restore({**arrays, **wrong}, meta)


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_shared_study_is_read_by_people(tmp_path: Path, kind: str) -> None:
    storage = sharing.at(kind, tmp_path)
    problem = expensive_problem(sharing.LANDSCAPE, Synthetic(0))
    logs = []
    for seed in (0, 1):
        logs.append(TrialLog())
        sharing.run(
            replace(problem, trials=logs[-1]), storage, sampler="random", evals=8 + 4 * seed, seed=seed
        )
    place = JournalStorage(JournalFileBackend(storage.partition(":")[2])) if kind == "journal" else storage
    study = optuna.load_study(study_name=None, storage=place)
    assert study.metric_names == ["top1", "latency_ms"]
    assert [each.name for each in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.user_attrs["description"].startswith("every network")
    complete = study.get_trials(states=[TrialState.COMPLETE])
    assert len(complete) == 12
    for trial in complete:
        row = np.array([trial.user_attrs["row"]], dtype=np.int16)
        found = problem.evaluate(row)
        assert trial.values == [found.top1[0], found.ms[0]]
        assert trial.user_attrs["latency_ms"] == found.ms[0]
        assert trial.user_attrs["feasible"] == found.feasible[0]
        assert constraint_marks(float(found.excess[0])).items() <= trial.system_attrs.items()
        genes = sharing.LANDSCAPE.space.genes
        assert trial.params == {gene.name: gene.values[i] for gene, i in zip(genes, row[0], strict=True)}
    # The second search has found what the first one did, with its times, and evaluated the rest.
    assert (len(logs[0]), len(logs[1])) == (8, 12)
    ends = [trial.ended for trial in logs[1].trials]
    assert ends == sorted(ends)
    first = {trial.row.tobytes(): (trial.started, trial.ended) for trial in logs[0].trials}
    later = {trial.row.tobytes(): (trial.started, trial.ended) for trial in logs[1].trials}
    assert first.keys() <= later.keys()
    networks = evaluated_networks(study.trials, list(map(parse_objective, ("top1", "latency_ms"))))
    assert len(networks) == 12 and networks[-1].best is not None


def test_a_shared_study_of_an_earlier_version_is_still_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = sharing.at("journal", tmp_path)
    real = optuna.create_study

    def as_before(**given: object) -> optuna.Study:
        study = real(**{**given, "directions": ["minimize", "minimize"]})
        monkeypatch.setattr(study, "set_metric_names", lambda names: None)
        note = study.set_user_attr
        monkeypatch.setattr(
            study, "set_user_attr", lambda key, to: note(key, to) if key == "problem" else None
        )
        return study

    with monkeypatch.context() as patched:
        patched.setattr(optuna, "create_study", as_before)
        first = sharing.proposer(storage, evals=12)
    for _ in range(6):
        sharing.step(first)
    archive = sharing.search(storage, evals=12)
    assert archive.evaluated == 12
    study = optuna.load_study(
        study_name=None, storage=JournalStorage(JournalFileBackend(storage.partition(":")[2]))
    )
    complete = study.get_trials(states=[TrialState.COMPLETE])
    assert len(complete) == 12
    for trial in complete:
        row = np.array([trial.user_attrs["row"]], dtype=np.int16)
        assert trial.values == sharing.LANDSCAPE.problem().evaluate(row).costs[0].tolist()
        assert list(trial.params.values()) == trial.user_attrs["row"]
    networks = evaluated_networks(study.trials, list(map(parse_objective, ("top1", "latency_ms"))))
    assert len(networks) == 12 and all(network.top1 is not None for network in networks)


def test_a_network_has_the_times_of_the_worker_that_estimated_it() -> None:
    problem = replace(expensive_problem(sharing.LANDSCAPE, Synthetic(0)), trials=TrialLog())
    log = problem.trials
    assert log is not None
    rows = problem.seeds if len(problem.seeds) else problem.sample(2, rng=np.random.default_rng(0))
    work = work_on(problem)(rows[:1], True)
    time.sleep(0.05)
    arrived = time.time()
    note_times(problem, rows[:1], work)
    here = evaluation_of(problem, rows[:1], work)
    (one,) = log.trials
    assert (one.started, one.ended) == (work[0].started, work[0].ended) and one.ended <= arrived - 0.05
    assert one.evaluations.top1[0] == here.top1[0] == replace(problem, trials=None).evaluate(rows[:1]).top1[0]
