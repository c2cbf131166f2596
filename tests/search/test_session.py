"""The watcher, the history and the checkpoint of a run, and the request to stop."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest
import toy

from hvnas.search.evaluations import Archive
from hvnas.search.reach import Reach, find_reach
from hvnas.search.runs.checkpoint import Checkpoint, State, Stopped
from hvnas.search.runs.session import History, Session

STATE = State(arrays={"a": np.arange(3)}, meta={"step": 4}, keys=np.array([5], dtype=np.uint64))


class Listening:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def chosen(self, strategy: str, reason: str) -> None:
        self.told.append((strategy, reason))

    def reachable(self, reach: Reach) -> None:
        self.told.append(reach)

    def advanced(self, archive: Archive, *, evals: int) -> None:
        self.told.append((archive.evaluated, evals))


class Keeping(Checkpoint):
    """Keeps the last state in memory; due when told so."""

    def __init__(self, *, is_due: bool = False) -> None:
        self.is_due = is_due
        self.state: State | None = None

    def due(self) -> bool:
        return self.is_due

    def load(self) -> State | None:
        return self.state

    def save(self, state: State) -> None:
        self.state = state


def session(checkpoint: Checkpoint | None = None) -> Session:
    return Session(
        progress=Listening(),
        checkpoint=checkpoint or Keeping(),
        history=History(np.array([0.0, 1.0])),
        stop=Event(),
    )


def archive(evaluated: int) -> Archive:
    made = Archive(2)
    made.evaluated = evaluated
    return made


def told(one: Session) -> list[object]:
    assert isinstance(one.progress, Listening)
    return one.progress.told


def test_the_watcher_hears_all() -> None:
    one, reach = session(), find_reach(toy.LANDSCAPE.problem())
    one.chosen("random", "because")
    one.reachable(reach)
    one.advanced(archive(10), evals=100)
    assert told(one) == [("random", "because"), reach, (10, 100)]


def test_a_batch_is_noted_and_its_archive_kept() -> None:
    one, batch = session(), archive(10)
    one.advanced(batch, evals=100)
    assert one.archive is batch
    assert [moment.evaluated for moment in one.history.moments] == [10]


@pytest.mark.parametrize("by_stop", [False, True])
def test_due_when_the_checkpoint_or_the_stop_says_so(by_stop: bool) -> None:
    checkpoint = Keeping()
    one = session(checkpoint)
    assert not one.due()
    if by_stop:
        one.stop.set()
    else:
        checkpoint.is_due = True
    assert one.due()


def test_where_a_checkpoint_is_due_the_watcher_hears_after_it_is_saved() -> None:
    one = session(Keeping(is_due=True))
    one.advanced(archive(10), evals=100)
    assert told(one) == []
    one.save(STATE)
    assert told(one) == [(10, 100)]
    one.save(STATE)
    assert told(one) == [(10, 100)]


def test_the_state_carries_the_history() -> None:
    checkpoint = Keeping()
    one = session(checkpoint)
    one.advanced(archive(10), evals=100)
    one.save(STATE)
    assert checkpoint.state is not None
    assert checkpoint.state.meta["step"] == 4
    assert np.array_equal(checkpoint.state.arrays["a"], STATE.arrays["a"])
    assert np.array_equal(checkpoint.state.keys, STATE.keys)

    other = session(checkpoint)
    state = other.load()
    assert state is checkpoint.state
    # nan, the best of an empty front, equals itself as text only
    assert repr(other.history.moments) == repr(one.history.moments)


def test_nothing_saved_nothing_loaded() -> None:
    one = session()
    assert one.load() is None
    assert one.history.moments == []


def test_a_state_without_a_history_is_one_of_before() -> None:
    checkpoint = Keeping()
    checkpoint.state = STATE
    one = session(checkpoint)
    assert one.load() is STATE
    assert one.history.moments == []


def test_a_stop_is_raised_after_saving() -> None:
    checkpoint = Keeping()
    one = session(checkpoint)
    batch = archive(10)
    one.stop.set()
    one.advanced(batch, evals=100)
    with pytest.raises(Stopped):
        one.save(STATE)
    assert checkpoint.state is not None
    assert one.archive is batch
    assert told(one) == [(10, 100)]


def test_the_end_comes_before_a_stop() -> None:
    checkpoint = Keeping()
    one = session(checkpoint)
    one.stop.set()
    one.finish(STATE)
    assert checkpoint.state is not None
