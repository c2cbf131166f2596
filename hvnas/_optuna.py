"""Optuna without its log lines, and what differs between its versions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

EXCESS = "excess"


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna without a line per trial and without warnings about its own experimental parts."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def has_set_constraint() -> bool:
    """Whether this Optuna takes constraints from the trial (5.0 on) rather than from the sampler."""
    from optuna.trial import Trial

    return hasattr(Trial, "set_constraint")


def constraint_options() -> dict[str, Any]:
    """What a sampler that knows constraints is to be made with."""
    return {} if has_set_constraint() else {"constraints_func": _excess_of}


def _excess_of(trial: optuna.trial.FrozenTrial) -> tuple[float]:
    return (trial.user_attrs[EXCESS],)


def constrain(trial: optuna.trial.Trial, excess: float) -> None:
    """Tell the sampler of `trial` its constraint, feasible where `excess` <= 0; before the trial ends."""
    if has_set_constraint():
        trial.set_constraint(EXCESS, excess)
    else:
        trial.set_user_attr(EXCESS, excess)


def constraint_marks(excess: float) -> dict[str, Any]:
    """The same as system attributes of a finished trial that no sampler saw ending."""
    if has_set_constraint():
        return {f"constraints:{EXCESS}": excess}
    return {"constraints": [excess]}
