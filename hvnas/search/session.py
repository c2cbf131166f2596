"""What accompanies a strategy: the watcher, the history, the checkpoint, and the request to stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from hvnas.search.history import History
from hvnas.search.seams import Progress, Rows
from hvnas.search.state import Checkpoint, State, Stopped

if TYPE_CHECKING:
    from hvnas.search.archive import Archive
    from hvnas.search.reach import Reach


def no_log(_: str) -> None:
    """The log of a run without a folder."""


@dataclass
class Session(Checkpoint):
    """Progress and checkpoint of a run in one: what a strategy tells goes to all that wait for it.

    After `stop` is set the next checkpoint is due at once, and saving it raises `Stopped`: the strategy is
    at rest then, and `archive` is the front that it had. Where a checkpoint is due the watcher hears of a
    batch once it is saved: what was reported is not lost.
    """

    progress: Progress
    checkpoint: Checkpoint
    history: History
    stop: Event
    log: Callable[[str], None] = no_log
    archive: Archive | None = None
    _untold: int | None = None

    def chosen(self, strategy: str, reason: str) -> None:
        """Passed on."""
        self.progress.chosen(strategy, reason)

    def reachable(self, reach: Reach) -> None:
        """Passed on."""
        self.progress.reachable(reach)

    def failed(self, row: Rows, reason: str) -> None:
        """Logged and passed on."""
        self.log(f"failed: {' '.join(map(str, np.ravel(row).tolist()))}: {reason}")
        self.progress.failed(row, reason)

    def advanced(self, archive: Archive, *, evals: int) -> None:
        """Noted and passed on."""
        self.archive = archive
        self.history.note(archive)
        self._untold = evals
        if not self.due():
            self._tell()

    def _tell(self) -> None:
        if self.archive is not None and self._untold is not None:
            self.progress.advanced(self.archive, evals=self._untold)
        self._untold = None

    def due(self) -> bool:
        """When the checkpoint says so, and when the run is to stop."""
        return self.stopping() or self.checkpoint.due()

    def stopping(self) -> bool:
        """Whether `stop` is set."""
        return self.stop.is_set()

    def load(self) -> State | None:
        """The state, with the history restored from it."""
        state = self.checkpoint.load()
        if state is not None:
            with self.restoring():
                self.history.restore(state.meta, finished=bool(state.meta.get("finished")))
        return state

    def restoring(self) -> AbstractContextManager[None]:
        """Passed on to the checkpoint."""
        return self.checkpoint.restoring()

    def save(self, state: State) -> None:
        """Keep the state and the history; raises Stopped where the run is to stop."""
        meta = {**state.meta, **self.history.stored()}
        self.checkpoint.save(State(arrays=state.arrays, meta=meta, keys=state.keys))
        self._tell()
        if self.stopping():
            raise Stopped

    def keep(self, name: str, write: Callable[[Path], None]) -> None:
        """Passed on to the checkpoint."""
        self.checkpoint.keep(name, write)

    def finish(self, state: State) -> None:
        """Keep the state of a run that came to its end, too late to stop."""
        self.stop.clear()
        self.save(state)
