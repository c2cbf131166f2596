"""Networks as trials of Ray Tune, proposed by one of Optuna's samplers that stays in this process.

Tune is used for what it is good at: resources per trial, and noticing machines that are lost. The sampler is
not Ray's own: that one has no constraints, and pickles the sampler. Nor are the retries: Tune's come at once,
and are spent before a machine that went away is known to be gone.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hvnas._waiting import WaitReport, end_wait_if_stopped
from hvnas.accuracy import AccuracyEstimator, Estimate
from hvnas.arch import Arch
from hvnas.ops import Program
from hvnas.parallel import fitting, room
from hvnas.parallel.actors import first_line
from hvnas.parallel.cluster import environment, own_signals
from hvnas.parallel.pool import reason_of
from hvnas.search.evaluations import Archive, Evaluations, FailureCount, RefusalLog
from hvnas.search.problem import Accuracy, Problem
from hvnas.search.rows import Floats, Rows
from hvnas.search.runs.checkpoint import Checkpoint, Stopped
from hvnas.search.runs.session import Progress
from hvnas.search.strategies.optuna_run import OptunaRun, Proposal
from hvnas.search.strategies.optuna_samplers import OptunaStrategy

if TYPE_CHECKING:
    from hvnas.search.request import Engine


# After a request to stop, what is under way is waited for this long.
_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.25
# Machines come and go; between two counts of them a trial waits in Ray's queue at worst.
_COUNT_SECONDS = 1.0
_RESULT = "work"
_ROW, _NUMBER = "row", "number"


# Before another try where a worker was lost. Until Ray has noticed that a machine is gone, which takes it
# about 15 s, it sends work there.
_LOST_SECONDS = (3.0, 15.0, 30.0)


_TUNE = {
    # No line on the terminal, no files per trial, and Ctrl-C is the caller's.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # The record is our own checkpoint.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    # As many at once as the desk hands out; with the one that Tune would take, actors start one by one.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",
    # A trial in the middle of an evaluation does not hear that it is to end.
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",
}


def run_trials(
    strategy: OptunaStrategy,
    problem: Problem,
    *,
    evals: int,
    seed: int,
    progress: Progress,
    checkpoint: Checkpoint,
    engine: Engine,
) -> Archive:
    """The archive of `strategy` with one trial of Tune per network, in a Ray cluster. See `run_on_ray`."""
    run = strategy.proposer(problem, evals=evals, seed=seed)
    try:
        checkpoint.restore(run.replay)
        desk = Desk(run, problem, evals=evals, progress=progress, checkpoint=checkpoint, engine=engine)
        if desk.worth_starting():
            _tune(desk, problem, engine)
        desk.finish()
        return run.finish()
    finally:
        run.close()


class Desk:
    """Between the sampler and Tune: what is proposed, what is out, what came back, and when to stop.

    Errors, `Stopped` among them, are kept in here and raised by `finish`, as Tune would swallow them.
    """

    def __init__(
        self,
        run: OptunaRun,
        problem: Problem,
        *,
        evals: int,
        progress: Progress,
        checkpoint: Checkpoint,
        engine: Engine,
    ) -> None:
        self.run = run
        self.problem = problem
        self.evals = evals
        self.progress = progress
        self.checkpoint = checkpoint
        self.engine = engine
        self.failures = FailureCount(progress.failed)
        self.failures.succeeded = run.archive.evaluated
        self.out: dict[str, Proposal] = {}
        self.ready: Proposal | None = None
        self.attempts: Counter[int] = Counter()
        self.again: list[tuple[float, Proposal]] = []
        self.done = False
        self.error: BaseException | None = None
        self.stopping_since: float | None = None
        self.last_look = 0.0
        self.room = fitting(cpus=engine.cpus_per_trial, gpus=engine.gpus_per_trial)
        self.counted = time.monotonic()

    def worth_starting(self) -> bool:
        """Whether there is a network to send: Tune is not started for none."""
        report = WaitReport("other searches of this study evaluate all networks that are left")
        while self.ready is None and not self.done and self.error is None:
            self.ready = self._look()
            if self.ready is None and not self.done:
                report.tick()
                end_wait_if_stopped()
                time.sleep(_POLL_SECONDS)
        return self.ready is not None

    def next(self, trial: str) -> dict[str, Any] | None:
        """The network for a trial; None where there is none yet, or, if `done`, none any more."""
        if self.finished or self.error is not None or len(self.out) >= self._room():
            return None
        proposal = self._due_again() or self.ready or self._look()
        if proposal is None:
            return None
        if proposal is self.ready:
            self.ready = None
        self.out[trial] = proposal
        return {_ROW: [int(gene) for gene in proposal.row[0]], _NUMBER: proposal.index}

    @property
    def finished(self) -> bool:
        """Whether no further trial is needed."""
        return self.done and not self.again

    def _due_again(self) -> Proposal | None:
        """A network whose time for another try has come."""
        for place, (moment, proposal) in enumerate(self.again):
            if moment <= time.monotonic():
                del self.again[place]
                return proposal
        return None

    def _look(self) -> Proposal | None:
        """The next network of the sampler's, None where there is none for now."""
        if self.done or (self.run.waiting and time.monotonic() - self.last_look < _POLL_SECONDS):
            return None
        proposal = self.run.ask()
        self.last_look = time.monotonic()
        self.done = proposal is None and not self.run.waiting
        return proposal

    def _room(self) -> int:
        """How many trials may be out: what the cluster fits by now."""
        if time.monotonic() - self.counted > _COUNT_SECONDS:
            self.room = room(cpus=self.engine.cpus_per_trial, gpus=self.engine.gpus_per_trial)
            self.counted = time.monotonic()
        return self.room if self.engine.workers is None else min(self.room, self.engine.workers)

    def record(self, trial: str, work: Any) -> None:
        """A trial ended well with its worker's `work`. Raises ValueError where only refusals come."""
        proposal = self.out[trial]
        note_times(self.problem, proposal.row, work)
        evaluations = evaluation_of(self.problem, proposal.row, work)
        self.failures.success()
        del self.out[trial]
        self.run.tell(proposal, evaluations)
        self.progress.advanced(self.run.archive, evals=self.evals)
        if self.checkpoint.due():
            self._save()

    def failed(self, trial: str, reason: str, *, lost: bool) -> None:
        """A trial failed, or its worker was `lost`: the network is tried again, at once or after a while."""
        proposal = self.out.pop(trial)
        self.attempts[proposal.index] += 1
        attempts = self.attempts[proposal.index]
        if attempts <= self.engine.max_retries:
            wait = _LOST_SECONDS[min(attempts, len(_LOST_SECONDS)) - 1] if lost else 0.0
            self.again.append((time.monotonic() + wait, proposal))
            return
        self.run.fail(proposal, reason)
        if self.checkpoint.due():
            self._save()
        self.failures.failure(proposal.row, reason)

    def _save(self) -> None:
        try:
            self.checkpoint.save(self.run.state())
        except Stopped as stopped:
            self.error = stopped
            self.stopping_since = self.stopping_since or time.monotonic()

    def to_end(self) -> bool:
        """Whether Tune shall end now; asked several times a second."""
        if self.error is None and self.checkpoint.stopping():
            self._save()
        if self.stopping_since is not None:
            return not self.out or time.monotonic() - self.stopping_since > _GRACE_SECONDS
        return self.error is not None

    def finish(self) -> None:
        """Raise what was kept from Tune; EvaluationsFailed where every network failed."""
        if self.error is not None:
            raise self.error
        self.failures.check()


def _tune(desk: Desk, problem: Problem, engine: Engine) -> None:
    with environment(_TUNE), own_signals(), tempfile.TemporaryDirectory(prefix="hv-tune-") as folder:
        from ray import tune

        tune.run(
            tune.with_parameters(_trainable(), problem=problem),
            name="search",
            search_alg=_searcher(desk),
            scheduler=_scheduler(),
            stop=_stopper(desk),
            callbacks=[_callback(desk)],
            num_samples=-1,
            resources_per_trial={"cpu": engine.cpus_per_trial, "gpu": engine.gpus_per_trial},
            max_failures=0,
            reuse_actors=True,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            storage_path=str(Path(folder).resolve()),
            trial_name_creator=_name,
            trial_dirname_creator=_name,
            raise_on_failed_trial=False,
            verbose=0,
        )


def _name(trial: Any) -> str:
    return str(trial.trial_id)


def _trainable() -> type:
    from ray import tune

    class Evaluate(tune.Trainable):
        """One network; its worker is handed from trial to trial, and keeps what the estimator loaded."""

        def setup(self, config: dict[Any, Any], **parameters: Any) -> None:
            self.work = work_on(parameters["problem"])
            self.asked = config

        def reset_config(self, new_config: dict[Any, Any]) -> bool:
            self.asked = new_config
            return True

        def step(self) -> dict[str, Any]:
            row = np.array([self.asked[_ROW]], dtype=np.int16)
            return {"done": True, _RESULT: _Sealed(self.work(row, True))}

    return Evaluate


class _Sealed:
    """What Tune hands on as it is; it would take a dictionary apart."""

    def __init__(self, content: Any) -> None:
        self.content = content


class _Unrecorded:
    """What Tune's own record of the experiment, which nobody reads, is not to hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Unrecorded, ())


def _searcher(desk: Desk) -> Any:
    from ray.tune.search import Searcher

    class FromDesk(_Unrecorded, Searcher):
        """Suggests what the desk has."""

        def suggest(self, trial_id: str) -> Any:
            try:
                return desk.next(trial_id) or (Searcher.FINISHED if desk.finished else None)
            except Exception as error:
                desk.error = error
                return None

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            """The callback does it: a reason is known only there."""

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the record is the run's own."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing."""

    return FromDesk()


def _scheduler() -> Any:
    from ray.tune.schedulers import FIFOScheduler

    class NextInLine(_Unrecorded, FIFOScheduler):
        """Leaves the choice to Tune's own queue, which gives an idle actor to a trial that has none.

        Any choice made here would take the idle actor for the oldest trial that waits, and end the actor
        that is being started for that one: with evaluations shorter than an actor's start no second actor
        would ever get to work.
        """

        def choose_trial_to_run(self, tune_controller: Any) -> None:
            """None: no preference."""

    return NextInLine()


def _stopper(desk: Desk) -> Any:
    from ray.tune import Stopper

    class WhenTold(_Unrecorded, Stopper):
        """Ends Tune when the desk says so."""

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return desk.to_end()

    return WhenTold()


def _callback(desk: Desk) -> Any:
    from ray.tune import Callback

    class ToDesk(_Unrecorded, Callback):
        """Brings what came back to the desk."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            sealed = (trial.last_result or {}).get(_RESULT)
            if trial.trial_id not in desk.out or sealed is None:
                return
            try:
                desk.record(trial.trial_id, sealed.content)
            except Exception as error:
                desk.error = error

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            try:
                reason, lost = _reason(trial)
                desk.failed(trial.trial_id, reason, lost=lost)
            except Exception as error:
                desk.error = error

    return ToDesk()


def _reason(trial: Any) -> tuple[str, bool]:
    """Why a trial failed, in one line, and whether its worker was lost."""
    from ray import cloudpickle
    from ray.exceptions import RayError

    # Tune's own readers look into the storage, where errors arrive later.
    path = trial.pickled_error_file
    if path is None or not Path(path).is_file():
        return "its worker was lost", True
    error = cloudpickle.loads(Path(path).read_bytes())
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return reason_of(cause), False
    if isinstance(error, RayError):
        return f"its worker was lost: {first_line(error)}", True
    return reason_of(error), False


class Answer(NamedTuple):
    """What an estimator said of one network: mean and sd of top-1, or why it `refused`.

    `started` and `ended` are seconds since 1970 by the worker's clock.
    """

    mean: float
    sd: float
    refused: str | None = None
    started: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True)
class ReplayedEstimator(AccuracyEstimator):
    """The estimator that repeats, network by network, what workers heard; `unit` is theirs."""

    answers: Sequence[Answer]
    unit: str = "points"

    def estimate(
        self, archs_or_programs: Sequence[Arch | Program], *, recipe: str = "", scenario: str = ""
    ) -> Estimate:
        """The answers. Raises ValueError where one is a refusal."""
        for answer in self.answers:
            if answer.refused is not None:
                raise ValueError(answer.refused)
        return Estimate(np.array([a.mean for a in self.answers]), np.array([a.sd for a in self.answers]))


def work_on(problem: Problem) -> Callable[[Rows, Accuracy], Any]:
    """What a worker does with rows, made there: whole evaluations of a cheap problem, else Answers."""
    if problem.cheap:
        return lambda rows, accuracy: problem.evaluate(rows, accuracy=accuracy).arrays()
    return lambda rows, accuracy: [_answer(problem, row) for row in rows]


def _answer(problem: Problem, row: Rows) -> Answer:
    refusals, started = RefusalLog(), time.time()
    found = refusals.estimate(
        problem.estimator, [problem.space.decode(row)], recipe=problem.recipe, scenario=problem.scenario
    )
    refused = next(iter(refusals.refused), None)
    return Answer(float(found[0][0]), float(found[1][0]), refused, started, time.time())


def note_times(problem: Problem, rows: Rows, work: Any) -> None:
    """Log when the workers of an expensive problem estimated rows [n, genes], of which `work` are Answers."""
    if problem.trials is not None and not problem.cheap:
        for row, answer in zip(rows, work, strict=True):
            problem.trials.spent(row, answer.started, answer.ended, answer.refused or "")


def evaluation_of(problem: Problem, row: Rows, work: Any) -> Evaluations:
    """The evaluation of one row, int16 [1, genes], of which `work` is what `work_on` made."""
    if problem.cheap:
        return Evaluations.stored(work)
    # Its features are tabulated once, and serve every such copy.
    kept = problem.with_seeds(problem.seeds)
    return replace(kept, estimator=ReplayedEstimator(work, problem.unit)).evaluate(row)


def estimates_of(
    refusals: RefusalLog, answers: Sequence[Answer], archs: Sequence[Arch]
) -> tuple[Floats, Floats]:
    """Mean and sd of each network, as `refusals` would have had them from the estimator itself."""
    pairs = [
        refusals.estimate(ReplayedEstimator([answer]), [arch], recipe="", scenario="")
        for answer, arch in zip(answers, archs, strict=True)
    ]
    means, sds = zip(*pairs, strict=True)
    return np.concatenate(means), np.concatenate(sds)
