"""One study for several searches, in a storage that all of them reach.

The study in the storage is the record; every process keeps a study of its own in memory for its sampler and
copies into that what the others find. So a proposal costs the storage one write and its result two, or
four where its estimate takes seconds. Nothing that lies in the storage is ever unpickled.

Nothing is evaluated twice: a process writes its claim, a running trial with the key of the row, and then
reads all trials. The storage numbers them in the order in which they appear; where the claim of a lower
number holds the same key, or holds the last evaluation that is to be had, the later one is given up.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from hvnas._names import shown
from hvnas._optuna import constraint_marks, quiet_optuna
from hvnas.search.evaluations import Evaluations
from hvnas.search.rows import Rows
from hvnas.search.runs.result import describe
from hvnas.search.shared.journal import StorageError
from hvnas.search.shared.storage import HEARTBEAT_SECONDS, Heartbeat, Storage, parse_storage
from hvnas.search.shared.trials import (
    DESCRIPTION,
    EVALUATED,
    EVALUATED_WORDS,
    EVALUATION,
    FEASIBLE,
    HOLDS,
    KEY,
    REASON,
    ROW,
    UNIT,
    WORKER,
    FinishedTrial,
    TrialForm,
    finished_trial,
    is_complete,
    is_open_or_told,
    is_running,
    key_of,
    row_of,
    seconds_of,
    to_plain,
)

if TYPE_CHECKING:
    import optuna
    from optuna.study._frozen import FrozenStudy

    from hvnas.search.problem import Problem

_PROBLEM = "problem"
# A journal has no heartbeat: a claim counts as given up once it is open for this many times the
# longest evaluation of the study, and at least so many seconds.
_PATIENCE, _LEAST_PATIENCE = 3.0, 5.0


@dataclass(frozen=True)
class StudyChanges:
    """What others did since the last look: rows that they claimed, int16 [n, genes], and finished trials."""

    claimed: Rows
    finished: Sequence[FinishedTrial]


class SharedStudy:
    """The study of `problem` in `storage`; `created` by this process or joined.

    `name` is made of the problem where it is None, so that another problem never shares it. Raises
    StorageError where the storage cannot be opened or the study of that name belongs to another problem.
    """

    @quiet_optuna()
    def __init__(self, problem: Problem, storage: str, *, evals: int, name: str | None = None) -> None:
        self.storage = parse_storage(storage)
        self.evals = evals
        self.worker = uuid4().hex
        self._problem, self._form = problem, TrialForm(problem)
        self._genes = problem.space.genes
        self._widths = {"costs": len(problem.objectives), "more": len(problem.more)}
        meaning = signature(problem)
        self.name = name or study_name(problem)
        self._study, self.created = self._join(meaning)
        # Studies of earlier versions have the places of genes' values and costs to be minimised.
        self._is_named = HOLDS in self._study.user_attrs
        # Optuna's own distribution: samplers read and write trials through these two.
        self._store, self._id = self._study._storage, self._study._study_id
        self._own: dict[int, Rows] = {}
        self._known: set[int] = set()
        self._claims: dict[int, float] = {}
        self._touched: set[int] = set()
        self._longest = 0.0
        self._spent = 0
        self._cleaned = -float("inf")
        self._heartbeat = Heartbeat(self._store)

    def _join(self, meaning: Mapping[str, Any]) -> tuple[optuna.Study, bool]:
        import optuna

        store = self.storage.open()
        with self.storage.reporting():
            try:
                study = optuna.create_study(
                    storage=store, study_name=self.name, directions=self._form.directions
                )
                study.set_metric_names(self._form.metrics)
                told = {DESCRIPTION: EVALUATED_WORDS, HOLDS: EVALUATED, UNIT: self._problem.unit}
                # Last what other processes wait for.
                for key, value in {**told, _PROBLEM: dict(meaning)}.items():
                    study.set_user_attr(key, value)
                return study, True
            except optuna.exceptions.DuplicatedStudyError:
                study = optuna.load_study(
                    storage=store, study_name=self.name, sampler=optuna.samplers.RandomSampler()
                )
            self._check(study, meaning)
            return study, False

    def _check(self, study: optuna.Study, meaning: Mapping[str, Any]) -> None:
        """Raise StorageError where the study is another problem's."""
        found = _noted(study)
        for _ in range(20):
            if found is not None:
                break
            time.sleep(0.1)  # its creator has still to write it
            found = _noted(study)
        if not isinstance(found, Mapping):
            raise StorageError(
                f"storage {self.storage.reference}: the study {self.name} was not created by hvnas; "
                "choose another name"
            )
        other = sorted(key for key in {*found, *meaning} if found.get(key) != meaning.get(key))
        if other:
            raise StorageError(
                f"storage {self.storage.reference}: the study {self.name} belongs to another problem "
                f"({str(other[0])[:60]}: {shown(found.get(other[0]))}, here "
                f"{shown(meaning.get(other[0]))}); choose another name"
            )

    def adopt(self, worker: str) -> None:
        """Take the place of a process that died: its open claims are free again, its name is ours."""
        import optuna

        with self.storage.reporting():
            for trial in self._trials():
                if is_running(trial) and trial.user_attrs.get(WORKER) == worker:
                    self._end(trial._trial_id, optuna.trial.TrialState.FAIL)
        self.worker = worker

    def claim(self, row: Rows, marks: Mapping[str, Any]) -> int | None:
        """The id of a running trial for `row`; None where another process has it or nothing is left."""
        import optuna

        values = [int(value) for value in row[0]]
        key = key_of(row)
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=self._form.params(row[0])
            if self._is_named
            else dict(zip(self._distributions, values, strict=True)),
            distributions=self._distributions,
            user_attrs={ROW: values, KEY: key, WORKER: self.worker, **self._known_of(row)},
            system_attrs=dict(marks),
        )
        with self.storage.reporting():
            mine = int(self._store.create_new_trial(self._id, template_trial=trial))
            self._own[mine] = row
            earlier = []
            for other in self._trials():
                if other._trial_id == mine:
                    break
                earlier.append(other)
            counted = [other for other in earlier if self._counts(other)]
            taken = any(is_open_or_told(other) and other.user_attrs.get(KEY) == key for other in earlier)
            if taken or len(counted) >= self.evals:
                self._end(mine, optuna.trial.TrialState.FAIL)
                return None
            self._heartbeat.start(mine)
            return mine

    @cached_property
    def _distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        if self._is_named:
            return {name: CategoricalDistribution(values) for name, values in self._form.choices.items()}
        return {gene.name: IntDistribution(0, len(gene.values) - 1) for gene in self._genes}

    def complete(self, claim: int, evaluations: Evaluations) -> bool:
        """Keep the evaluation; False where the claim had been given up and another process may have it."""
        import optuna

        self._heartbeat.end(claim)
        values = evaluations.costs[0]
        if self._is_named:
            (found,) = describe(self._problem, self._own[claim], evaluations)
            values = np.array(self._form.values(found))
            # To fail a network that has no number would be to have it evaluated again.
            worst = [-np.inf if what.sign < 0 else np.inf for what in self._problem.objectives]
            values = np.where(np.isfinite(values), values, worst)
        values = np.nan_to_num(values, nan=np.inf, posinf=np.inf, neginf=-np.inf)
        try:
            with self.storage.reporting():
                if self._is_named:
                    self._judge(claim, evaluations)
                self._store.set_trial_user_attr(claim, EVALUATION, to_plain(evaluations))
                self._store.set_trial_state_values(
                    claim, optuna.trial.TrialState.COMPLETE, list(map(float, values))
                )
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        self._spent += 1
        return True

    def _known_of(self, row: Rows) -> dict[str, Any]:
        """What people read of a network that needs no estimate, where estimates take seconds."""
        if self._problem.cheap or not self._is_named:
            return {}
        (found,) = describe(self._problem, row, self._problem.evaluate(row, accuracy=False))
        return self._form.attributes(found)

    def _judge(self, claim: int, evaluations: Evaluations) -> None:
        """Note whether a network may be chosen, but where the writes would outlast its estimate."""
        if self._problem.cheap:
            return
        for key, mark in constraint_marks(float(evaluations.excess[0])).items():
            self._store.set_trial_system_attr(claim, key, mark)
        self._store.set_trial_user_attr(claim, FEASIBLE, bool(evaluations.feasible[0]))

    def fail(self, claim: int, reason: str | None) -> None:
        """End a claim without a result: for a `reason`, which counts as an evaluation, or given back."""
        import optuna

        self._heartbeat.end(claim)
        try:
            with self.storage.reporting():
                if reason is not None:
                    self._store.set_trial_user_attr(claim, REASON, reason)
                self._end(claim, optuna.trial.TrialState.FAIL)
        except optuna.exceptions.UpdateFinishedTrialError:
            return

    @quiet_optuna()
    def changes(self) -> StudyChanges:
        """What other processes did since the last call."""
        with self.storage.reporting():
            self._clean()
            trials = self._trials()
            return self._changes(trials)

    def _changes(self, trials: Sequence[optuna.trial.FrozenTrial]) -> StudyChanges:
        finished, claimed = [], []
        now = time.monotonic()
        for trial in trials:
            if trial._trial_id in self._known or ROW not in trial.user_attrs:
                continue
            mine = trial._trial_id in self._own
            if is_running(trial):
                if not mine and trial._trial_id not in self._claims:
                    self._claims[trial._trial_id] = now
                    claimed.append(row_of(trial, len(self._genes)))
                continue
            self._known.add(trial._trial_id)
            self._claims.pop(trial._trial_id, None)
            if is_complete(trial):
                self._longest = max(self._longest, seconds_of(trial))
                if not mine:
                    finished.append(finished_trial(trial, len(self._genes), **self._widths))
        self._spent = sum(map(self._counts, trials))
        rows = np.concatenate(claimed) if claimed else np.empty((0, len(self._genes)), dtype=np.int16)
        return StudyChanges(rows, finished)

    @property
    def spent(self) -> int:
        """Evaluations that are done, failed or claimed, of all processes, as of the last look."""
        return self._spent

    @property
    def waiting(self) -> bool:
        """Whether another process is still at work on a claim, as of the last look."""
        return any(map(self._is_held, self._claims))

    def everything(self) -> list[FinishedTrial]:
        """All finished evaluations of the study in the order of their trials."""
        with self.storage.reporting():
            return [
                finished_trial(trial, len(self._genes), **self._widths)
                for trial in self._trials()
                if is_complete(trial)
            ]

    def close(self) -> None:
        """Stop the heartbeat; open claims were ended before."""
        self._heartbeat.stop()

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials, in the order of their numbers."""
        return list(self._store.get_all_trials(self._id, deepcopy=False))

    def _end(self, trial_id: int, state: optuna.trial.TrialState) -> None:
        self._store.set_trial_state_values(trial_id, state)

    def _clean(self) -> None:
        """Give up the claims of processes whose heartbeat has stopped, where the storage notes it."""
        import optuna

        if time.monotonic() - self._cleaned < HEARTBEAT_SECONDS:
            return
        optuna.storages.fail_stale_trials(self._study)
        self._cleaned = now = time.monotonic()
        for claim, seen in self._claims.items():
            # Who died before the first beat is never found stale; who lives beats on after ours.
            if now - seen > HEARTBEAT_SECONDS and claim not in self._touched:
                self._heartbeat.beat_once(claim)
                self._touched.add(claim)

    def _counts(self, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether a trial takes one of the evaluations."""
        if is_running(trial):
            return trial._trial_id not in self._claims or self._is_held(trial._trial_id)
        return is_complete(trial) or REASON in trial.user_attrs

    def _is_held(self, claim: int) -> bool:
        """Whether another's open claim is to be waited for."""
        if self._heartbeat.supported:
            return True
        patience = max(_LEAST_PATIENCE, _PATIENCE * self._longest)
        return time.monotonic() - self._claims[claim] < patience


def signature(problem: Problem) -> dict[str, Any]:
    """What two searches must agree in to share a study: everything that an evaluation depends on."""
    from hvnas._version import __version__

    devices = zip(problem.devices, (problem.margin, *problem.other_margins), strict=True)
    return {
        "space": problem.space.hash,
        "devices": [f"{device.name} {device.hash} margin {margin:g}" for device, margin in devices],
        "objectives": [str(objective) for objective in problem.objectives],
        "constraints": [str(constraint) for constraint in problem.constraints],
        "budget_ms": problem.budget_ms,
        "outside": problem.outside,
        "recipe": problem.recipe,
        "scenario": problem.scenario,
        "estimator": problem.estimator.label(),
        "version": __version__,
    }


def study_name(problem: Problem) -> str:
    """The name of the study that searches of `problem` share, made of what they must agree in."""
    digest = hashlib.sha256(json.dumps(signature(problem), sort_keys=True).encode()).hexdigest()
    return f"hvnas-{problem.space.name}-{problem.device.name}-{digest[:12]}"


def stored_study(
    storage: Storage, name: str | None, *, remedy: str
) -> tuple[FrozenStudy, list[optuna.trial.FrozenTrial]]:
    """The study called `name` with its trials, the only one where that is None; nothing is written.

    Raises StorageError, one line that ends in the `remedy`, where it is not there or is damaged.
    """
    file = storage.file
    if file is not None and not file.is_file():
        raise StorageError(f"storage {storage.reference}: is not there; {remedy}")
    try:
        store = storage.open()
        with storage.reporting("cannot be read"):
            found = [one for one in store.get_all_studies() if name in (None, one.study_name)]
            trials = store.get_all_trials(found[0]._study_id, deepcopy=False) if len(found) == 1 else []
    except StorageError as error:
        # What a search that goes on is told does not help here.
        raise StorageError(f"{str(error).partition(';')[0]}; {remedy}") from None
    if len(found) != 1:
        raise StorageError(
            f"storage {storage.reference}: holds {len(found)} studies"
            f"{'' if name is None else f' called {name}'}, not one; {remedy}"
        )
    return found[0], list(trials)


def _noted(study: optuna.Study) -> object:
    """What the creator of a study noted of its problem, None where nothing is."""
    noted = study.user_attrs
    return noted.get(_PROBLEM) if isinstance(noted, Mapping) else noted
