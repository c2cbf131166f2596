"""Which clock a time is read from."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

THREAD_TIME = "CPU time of the thread, which is its wall time where nothing else runs on its core"
WALL_TIME = "wall time"


def clock_for(threads: int) -> tuple[Clock, str]:
    """Seconds, and what they are: one thread's own CPU time, or wall time where several threads work.

    What a thread does not run, for another program has its core, is none of its latency.
    """
    return (time.thread_time, THREAD_TIME) if threads == 1 else (time.perf_counter, WALL_TIME)
