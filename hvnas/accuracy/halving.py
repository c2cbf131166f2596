"""Successive halving of training runs, by Optuna's pruners.

The runs come one after the other. At epochs 1, r, r^2, ... a run goes on only if it is among the best 1 of r
of those that have come so far as well (asynchronous successive halving, 1810.05934): the first ones therefore
always go on. Hyperband (1603.06560) divides the runs among several first epochs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hvnas._optuna import quiet_optuna
from hvnas.accuracy.short_results import Curve

if TYPE_CHECKING:
    import optuna


def run_all(
    runs: Sequence[Iterator[Curve]], *, epochs: int, halving: str, reduction: int
) -> tuple[Curve, ...]:
    """The last curve of each run. Runs yield their curve after each epoch, and are closed where stopped."""
    if halving == "none":
        return tuple([Curve(), *run][-1] for run in runs)
    import optuna

    with quiet_optuna():
        study = optuna.create_study(
            direction="maximize",
            # Hyperband assigns runs by a hash of the study's name: a fixed one repeats.
            study_name="short-training",
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=_pruner(halving, epochs, reduction),
        )
        return tuple(_pruned(run, study, epochs) for run in runs)


def _pruner(halving: str, epochs: int, reduction: int) -> optuna.pruners.BasePruner:
    from optuna.pruners import HyperbandPruner, SuccessiveHalvingPruner

    if halving == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=reduction)
    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=reduction)


def _pruned(run: Iterator[Curve], study: optuna.Study, epochs: int) -> Curve:
    from optuna.trial import TrialState

    trial = study.ask()
    curve = Curve()
    for curve in run:
        if curve.diverged:
            study.tell(trial, state=TrialState.FAIL)
            return curve
        trial.report(curve.top1[-1], step=len(curve.top1))
        if len(curve.top1) < epochs and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            _close(run)
            return curve
    study.tell(trial, curve.top1[-1])
    return curve


def _close(run: Iterator[Curve]) -> None:
    """End a generator where it stands, so that it keeps what it has."""
    close = getattr(run, "close", None)
    if close is not None:
        close()
