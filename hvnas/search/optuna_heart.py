"""The heartbeat of a process that shares a study, where the storage notes such."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna


class Heart:
    """Says every few seconds that this process still works on its claims, where the storage notes that."""

    def __init__(self, store: optuna.storages.BaseStorage) -> None:
        self._store: Any = store
        interval = getattr(store, "get_heartbeat_interval", lambda: None)()
        self.hears = interval is not None
        self._interval = float(interval or 0)
        self._claims: set[int] = set()
        self._stopped = Event()
        self._thread: Thread | None = None

    def beat_for(self, claim: int) -> None:
        """Beat for `claim` now and every few seconds."""
        if not self.hears:
            return
        self.beat_once(claim)
        self._claims.add(claim)
        if self._thread is None:
            self._thread = Thread(target=self._run, name="hvnas-heartbeat", daemon=True)
            self._thread.start()

    def beat_once(self, claim: int) -> None:
        """Beat for `claim` now."""
        if self.hears:
            self._store.record_heartbeat(claim)

    def stop_for(self, claim: int) -> None:
        self._claims.discard(claim)

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            for claim in tuple(self._claims):
                try:
                    self._store.record_heartbeat(claim)
                except Exception:
                    # The search itself meets the same storage soon, and reports it.
                    break
