"""Waits that say what they wait for and how long, and that a signal ends."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

LOGGER = logging.getLogger("hvnas.waiting")
# What lasts no longer is no wait. Seconds, as those between two lines.
PATIENCE = 1.0
_BETWEEN_LINES = 10.0


@dataclass
class StopRequest:
    """`event` is set once the job is asked to stop; `code` is the exit code of the signal that asked.

    `raised` is whether the signal has ended the job by a KeyboardInterrupt already.
    """

    event: threading.Event = field(default_factory=threading.Event)
    code: int = 0
    raised: bool = False


# Both are of the main thread, where Python runs the handlers of signals.
_REQUEST: ContextVar[StopRequest | None] = ContextVar("request", default=None)
_WAITING_SINCE: ContextVar[float | None] = ContextVar("waiting_since", default=None)


class WaitReport:
    """Says that `reason` is waited for, once that takes `patience` seconds, and again every ten; `tick` it."""

    def __init__(self, reason: str, *, patience: float = PATIENCE) -> None:
        self._reason = reason
        self._started = time.monotonic()
        self._due = self._started + patience

    @property
    def seconds(self) -> float:
        """Since the wait began."""
        return time.monotonic() - self._started

    def tick(self) -> None:
        """Say it if that is due."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _BETWEEN_LINES
            LOGGER.warning("%s (waiting for %.0f s; Ctrl-C ends it)", self._reason, now - self._started)


@contextmanager
def stops_by(request: StopRequest) -> Iterator[None]:
    """Inside, waits end once `request` is made."""
    token = _REQUEST.set(request)
    try:
        yield
    finally:
        _REQUEST.reset(token)


def is_waiting() -> bool:
    """Whether this thread is inside of `waiting` for longer than a moment."""
    since = _WAITING_SINCE.get()
    return since is not None and time.monotonic() - since >= PATIENCE


def end_wait_if_stopped() -> None:
    """Raise KeyboardInterrupt where the job was asked to stop; for loops that wait."""
    request = _REQUEST.get()
    if request is not None and request.event.is_set():
        raise KeyboardInterrupt


@contextmanager
def waiting(reason: str, *, patience: float = PATIENCE) -> Iterator[None]:
    """Say every ten seconds that `reason` is waited for, while a call inside does not return.

    The first time after `patience` seconds, which are what the call usually takes. A request to stop raises KeyboardInterrupt inside, once the wait has lasted for a second.
    """
    ended = threading.Event()
    request = _REQUEST.get()
    report = WaitReport(reason, patience=patience)

    def watch() -> None:
        while not ended.wait(PATIENCE):
            report.tick()
            if request is not None and request.event.is_set():
                if request.raised or ended.is_set():
                    return
                _signal_main_thread(request.code)
                return

    token = _WAITING_SINCE.set(time.monotonic())
    thread = threading.Thread(target=watch, name="hvnas-waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        _WAITING_SINCE.reset(token)


def _signal_main_thread(code: int) -> None:
    """Wake the main thread from a call into the system by the signal that it was asked to stop by."""
    number = code - 128
    ident = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and ident is not None:
        signal.pthread_kill(ident, number)
