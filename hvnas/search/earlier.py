"""States that version 0.1.0 saved before searches had objectives, brought to today's layout."""

from __future__ import annotations

from hvnas.search.problem import Problem
from hvnas.search.state import FolderCheckpoint, State

_FRONT, _POPULATION = "front.", "population."


def renew(checkpoint: FolderCheckpoint, problem: Problem) -> bool:
    """Bring the saved state of a run to today's layout; False where the run must begin again.

    A state without costs is of an earlier layout: its architectures are evaluated again. The record of
    Optuna's samplers then held no order of events, so that they cannot go on from it.
    """
    state = checkpoint.load()
    if state is None or _is_current(state):
        return True
    if _FRONT + "rows" not in state.arrays:
        checkpoint.discard()
        return False
    with checkpoint.restoring():
        renewed = _evaluated_again(state, problem)
    checkpoint.save(renewed)
    return True


def _is_current(state: State) -> bool:
    named = {name.rpartition(".")[2] for name in state.arrays}
    return "costs" in named or "violation" not in named


def _evaluated_again(state: State, problem: Problem) -> State:
    arrays = dict(state.arrays)
    for prefix in (_FRONT, _POPULATION):
        if prefix + "rows" in arrays:
            found = problem.evaluate(arrays[prefix + "rows"])
            arrays |= {prefix + name: array for name, array in found.arrays().items()}
    # The keys are in their file already.
    return State(arrays=arrays, meta=state.meta)
