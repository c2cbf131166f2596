"""The first SIGINT or SIGTERM asks a long job to stop at its next rest; a second ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event
from types import FrameType
from typing import TypeVar

from hvnas.cli._failure import INTERRUPTED, Failure
from hvnas.cli._screen import Screen

Result = TypeVar("Result")


@dataclass
class Stopping:
    """`event` is set once the job is asked to stop; `code` is the exit code of the signal that asked."""

    event: Event = field(default_factory=Event)
    code: int = 0


@contextmanager
def stopping(asked: Stopping) -> Iterator[None]:
    """While it lasts signals ask for a stop; afterwards they do what they did before.

    The second one raises KeyboardInterrupt.
    """

    def ask(number: int, _: FrameType | None) -> None:
        again = asked.code != 0
        asked.code = 128 + number
        if again:
            raise KeyboardInterrupt
        asked.event.set()
        # A signal may come in the middle of another line that is being written.
        with suppress(RuntimeError):
            Screen(errors=True).line("stopping after the batch in hand; once more ends it at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: it was not set from Python, and cannot be set again from there.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def until_stopped(job: Callable[[Callable[[], bool]], Result | None], *, again: str) -> Result:
    """What `job` comes to. It is given what to ask whether to stop, and returns None where it did.

    Raises Failure with `again`, which says what goes on with it, where it is stopped.
    """
    asked = Stopping()
    try:
        with stopping(asked):
            result = job(asked.event.is_set)
    except KeyboardInterrupt:
        result = None
    if result is None:
        raise Failure(f"stopped; {again}", code=asked.code or INTERRUPTED)
    return result
