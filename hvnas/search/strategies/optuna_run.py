"""A search with one of Optuna's samplers that others evaluate for: ask for networks, tell how they did."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hvnas._optuna import quiet_optuna
from hvnas.search.evaluations import Archive, Evaluations
from hvnas.search.problem import Problem
from hvnas.search.rows import Rows
from hvnas.search.runs.checkpoint import State
from hvnas.search.shared.study import SharedStudy
from hvnas.search.shared.trials import FinishedTrial
from hvnas.search.strategies.optuna_study import SamplerKind, SamplerStudy

if TYPE_CHECKING:
    import optuna

_ASKED, _TOLD, _FAILED = 0, 1, 2
# A twentieth of the evaluations is random, but from 10 networks, Optuna's own number for TPE, to 100.
_LEAST_RANDOM, _MOST_RANDOM = 10, 100
# So many infeasible networks in a row and one of them is evaluated after all.
_MAX_BARRED = 1_000


@dataclass(frozen=True, eq=False)
class Proposal:
    """A network to evaluate: `row`, int16 [1, genes].

    `trial` is the sampler's, None where the network is none of its own; `index` counts the proposals;
    `claim` is the id of the trial in a shared study.
    """

    trial: optuna.trial.Trial | None
    row: Rows
    index: int
    claim: int | None = None


class OptunaRun:
    """A sampler at work, and the archive of what it was told.

    `ask` may be called again before what was asked is told; every proposal is ended by `tell` or by `fail`.
    In a shared study `evals` is the total of all processes and the archive holds what all of them found.

    A network whose evaluation failed counts as one of the evaluations and is not proposed again: what is
    worth another try is tried again by whoever evaluates, before `fail`. A network with a cost that is not a
    finite number is infeasible. Where an evaluation takes seconds networks over the budget are not asked
    for: see `_new`.
    """

    def __init__(
        self,
        problem: Problem,
        kind: SamplerKind,
        *,
        evals: int,
        seed: int,
        shared: SharedStudy | None = None,
    ) -> None:
        self.problem = problem
        self.evals = evals
        self.shared = shared
        self.archive = Archive(len(problem.space.genes))
        self.open: dict[int, Proposal] = {}
        self.failed = 0
        self._rows: list[Rows] = []
        self._told: list[Evaluations] = []
        self._events: list[tuple[int, int]] = []
        self._reopened: deque[Proposal] = deque()
        # What is replayed was logged when it happened.
        self._logs = True
        self._began: dict[int, float] = {}
        self.sampler = SamplerStudy(problem, kind, evals=evals, seed=_seed_in(shared, seed))
        self._learn()
        random = min(max(_LEAST_RANDOM, evals // 20), _MOST_RANDOM)
        self.sampler.start(problem.seeds, random=random - self.archive.evaluated)

    @property
    def study(self) -> optuna.Study:
        """The sampler's study, in memory."""
        return self.sampler.study

    @quiet_optuna()
    def ask(self) -> Proposal | None:
        """The next network; None where all evaluations are spent or open, or nothing new is to be found."""
        if self._reopened:
            return self._begun(self._reopened.popleft())
        while True:
            self._learn()
            if self.spent >= self.evals:
                return None
            trial, row = self._new()
            if len(row) == 0:
                return None
            claim = None
            if self.shared is not None:
                claim = self.shared.claim(row, self.sampler.marks_of(trial))
                if claim is None:
                    self.sampler.fail(trial)
                    continue
            return self._opened(Proposal(trial, row, len(self._rows), claim))

    def _new(self) -> tuple[optuna.trial.Trial | None, Rows]:
        """The sampler's next network, worth its evaluation where that takes seconds.

        The sampler is told at once of networks that no accuracy could make feasible; they do not count.
        """
        for _ in range(_MAX_BARRED):
            trial, row = self.sampler.new()
            if self.problem.cheap or len(row) == 0 or self.problem.allowed(row)[0]:
                break
            self.sampler.tell(trial, row, settled(self.problem.evaluate(row, accuracy=False)))
        return trial, row

    @quiet_optuna()
    def tell(self, proposal: Proposal, evaluations: Evaluations) -> None:
        """End a proposal with its evaluation, a batch of one."""
        evaluations = settled(evaluations)
        if proposal.claim is None or self.shared is None:
            self._told.append(evaluations)
        elif not self.shared.complete(proposal.claim, evaluations):
            self._close(proposal, _FAILED)
            self.sampler.fail(proposal.trial)
            return
        self._close(proposal, _TOLD)
        self._log(proposal, evaluations)
        self.archive.add(proposal.row, evaluations)
        self.sampler.tell(proposal.trial, proposal.row, evaluations)

    @quiet_optuna()
    def fail(self, proposal: Proposal, reason: str) -> None:
        """End a proposal without an evaluation. It counts as one, and is not proposed again."""
        if proposal.claim is not None and self.shared is not None:
            self.shared.fail(proposal.claim, reason)
        if proposal.trial is not None:
            proposal.trial.set_user_attr("reason", reason)
        self._close(proposal, _FAILED)
        if self.problem.trials is not None:
            self._log(proposal, self.problem.evaluate(proposal.row, accuracy=False), reason)
        self.failed += 1
        self.sampler.fail(proposal.trial)

    @property
    def spent(self) -> int:
        """Evaluations done, failed or open; in a shared study those of all processes."""
        if self.shared is not None:
            return self.shared.spent
        return self.archive.evaluated + self.failed + len(self.open)

    @property
    def waiting(self) -> bool:
        """Whether other processes still evaluate: `ask`, that returned None, may have more later."""
        return self.shared is not None and self.shared.waiting

    def finish(self) -> Archive:
        """The archive of everything told; of a shared study the same in every process."""
        everything = [] if self.shared is None else self.shared.everything()
        if everything:
            self.archive = Archive(everything[0].row.shape[1])
            self.archive.add(
                np.concatenate([one.row for one in everything]),
                Evaluations.join([one.evaluations for one in everything]),
            )
            self._log_others(everything)
        return self.archive

    def close(self) -> None:
        """Give back what is still open, so that other processes may evaluate it."""
        if self.shared is None:
            return
        try:
            for proposal in self.open.values():
                if proposal.claim is not None:
                    self.shared.fail(proposal.claim, None)
        except ValueError:
            # The storage is gone, which has been reported; its other readers give the claims up in time.
            pass
        finally:
            self.open.clear()
            self.shared.close()

    def state(self) -> State:
        """The record of everything asked and told, in order; of a shared study the name of this process."""
        if self.shared is not None:
            return State(arrays={}, meta={"worker": self.shared.worker})
        arrays: dict[str, np.ndarray] = {"events": np.array(self._events, dtype=np.int64).reshape(-1, 2)}
        if self._rows:
            arrays["rows"] = np.concatenate(self._rows)
        if self._told:
            arrays |= {f"told.{name}": a for name, a in Evaluations.join(self._told).arrays().items()}
        return State(arrays=arrays, meta={})

    def replay(self, state: State) -> None:
        """Go through what was asked and told again, in its order; for a run that was just begun.

        Optuna's samplers keep state that cannot be stored, so everything is asked for again and answered
        from the record. Proposals that were open are the next that `ask` returns.
        """
        if self.shared is not None:
            self.shared.adopt(state.meta["worker"])
            return
        answers: Iterator[Evaluations] = iter(())
        if "told.ms" in state.arrays:
            told = Evaluations.stored(state.arrays, prefix="told.")
            answers = iter(told.take(slice(i, i + 1)) for i in range(len(told)))
        self._logs = False
        for what, index in state.arrays["events"].tolist():
            if what == _ASKED:
                _check_repeats(self.ask(), state.arrays["rows"][index])
            elif what == _TOLD:
                self.tell(self.open[index], next(answers))
            else:
                self.fail(self.open[index], "failed before the run was cut")
        self._logs = True
        self._reopened.extend(self.open.values())

    def _opened(self, proposal: Proposal) -> Proposal:
        self.open[proposal.index] = proposal
        self._rows.append(proposal.row)
        self._events.append((_ASKED, proposal.index))
        return self._begun(proposal)

    def _begun(self, proposal: Proposal) -> Proposal:
        self._began[proposal.index] = time.time()
        return proposal

    def _log(self, proposal: Proposal, evaluations: Evaluations, reason: str = "") -> None:
        """Log a proposal that ended, unless whoever evaluated it did."""
        if self.problem.trials is not None and self._logs:
            started = self._began[proposal.index]
            self.problem.trials.add(proposal.row, evaluations, started=started, reason=reason)

    def _log_others(self, trials: Sequence[FinishedTrial]) -> None:
        """Log what other processes found; what is known is logged already."""
        if self.problem.trials is not None:
            for one in sorted(trials, key=lambda trial: trial.ended):
                self.problem.trials.add(one.row, one.evaluations, started=one.started, ended=one.ended)

    def _close(self, proposal: Proposal, how: int) -> None:
        del self.open[proposal.index]
        self._events.append((how, proposal.index))

    @quiet_optuna()
    def _learn(self) -> None:
        """Take over what other processes claimed and found."""
        if self.shared is None:
            return
        changes = self.shared.changes()
        for row in changes.claimed:
            self.sampler.add_if_new(row[None])
        self._log_others(changes.finished)
        for trial in changes.finished:
            self.sampler.add_if_new(trial.row)
            self.archive.add(trial.row, trial.evaluations)
            self.sampler.add(trial.row, trial.evaluations, trial.marks)


def settled(evaluations: Evaluations) -> Evaluations:
    """Evaluations, infeasible where a cost is not a finite number."""
    lost = ~np.isfinite(evaluations.costs).all(axis=1)
    if not lost.any():
        return evaluations
    violation = np.where(lost, np.fmax(evaluations.violation, 1.0), evaluations.violation)
    excess = np.where(lost, np.fmax(evaluations.excess, 1.0), evaluations.excess)
    return replace(evaluations, violation=violation, excess=excess)


def _seed_in(shared: SharedStudy | None, seed: int) -> int:
    """The seed of this process: processes that share a study must not propose the same.

    The creator of the study keeps the seed that was given.
    """
    if shared is None or shared.created:
        return seed
    return int(np.random.SeedSequence([seed, int(shared.worker, 16)]).generate_state(1)[0])


def _check_repeats(proposal: Proposal | None, recorded: Rows) -> None:
    if proposal is None or not np.array_equal(proposal.row[0], recorded):
        raise ValueError(
            "this run was begun with other versions of the packages: its proposals do not repeat. "
            "Install the versions in its config.yaml, or start a new run"
        )
