"""Functions for workers to call; in a module of their own, which fresh processes can import."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Squares:
    """Makes a function that squares, and leaves a file per making and per call in `folder`.

    Where a number is in `deadly` the worker is killed, where it is in `faulty` the function raises, both as
    long as the number was called fewer than `times` times.
    """

    folder: Path
    deadly: tuple[int, ...] = ()
    faulty: tuple[int, ...] = ()
    times: int = 10**9

    def __call__(self) -> Callable[[int], int]:
        (self.folder / f"made-{os.getpid()}").touch()
        return self.square

    def square(self, x: int) -> int:
        calls = len(list(self.folder.glob(f"call-{x}-*")))
        (self.folder / f"call-{x}-{calls}").touch()
        if calls < self.times and x in self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if calls < self.times and x in self.faulty:
            raise ValueError(f"no square of {x}")
        return x * x

    def calls(self, x: int) -> int:
        return len(list(self.folder.glob(f"call-{x}-*")))

    def makings(self) -> int:
        return len(list(self.folder.glob("made-*")))


def make_slow_first() -> Callable[[int], int]:
    """The first number takes longest."""
    return slow_first


def slow_first(x: int) -> int:
    time.sleep(0.5 if x == 0 else 0)
    return x


def make_nothing() -> Callable[[int], int]:
    raise ValueError("the data set is missing")


def make_suicide() -> Callable[[int], int]:
    os._exit(3)


def make_lengths() -> Callable[[bytes], bytes]:
    return bytes.upper
