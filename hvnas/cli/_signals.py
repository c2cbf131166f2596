"""The first SIGINT or SIGTERM asks a long job to stop at its next rest; a second ends it at once.

Where the job waits for a lock or the like the first one ends it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TypeVar

from hvnas._waiting import StopRequest, is_waiting, stops_by
from hvnas.cli._failure import INTERRUPTED, Failure
from hvnas.cli._screen import Screen

Result = TypeVar("Result")


@contextmanager
def stopping(request: StopRequest) -> Iterator[None]:
    """While it lasts signals ask for a stop; afterwards they do what they did before.

    The second one raises KeyboardInterrupt, and so does the first where the job waits for something.
    """

    def ask(number: int, _: FrameType | None) -> None:
        at_once = request.code != 0 or is_waiting()
        request.code = 128 + number
        # Before the event: who sees that must not signal once more.
        request.raised = at_once
        request.event.set()
        if at_once:
            raise KeyboardInterrupt
        # A signal may come in the middle of another line that is being written.
        with suppress(RuntimeError):
            Screen(errors=True).line("stopping after the current batch; a second signal stops at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with stops_by(request):
            yield
    finally:
        for number, handler in before.items():
            # None: it was not set from Python, and cannot be set again from there.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def until_stopped(job: Callable[[Callable[[], bool]], Result | None], *, again: str) -> Result:
    """What `job` comes to. It is given what to ask whether to stop, and returns None where it did.

    Raises Failure with `again`, which says what goes on with it, where it is stopped.
    """
    asked = StopRequest()
    try:
        with stopping(asked):
            result = job(asked.event.is_set)
    except KeyboardInterrupt:
        result = None
    if result is None:
        raise Failure(f"stopped; {again}", code=asked.code or INTERRUPTED)
    return result
