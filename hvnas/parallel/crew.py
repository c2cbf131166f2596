"""What a pool needs of its workers, and what workers report."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Ready:
    """A worker has made its function and takes batches."""

    worker: int


@dataclass(frozen=True)
class Unmade:
    """A worker could not make its function."""

    worker: int
    reason: str


@dataclass(frozen=True)
class Finished:
    """A worker has the value of the batch sent under `ticket`."""

    worker: int
    ticket: int
    value: Any


@dataclass(frozen=True)
class Raised:
    """The function raised on the batch sent under `ticket`; the worker goes on."""

    worker: int
    ticket: int
    reason: str


@dataclass(frozen=True)
class Lost:
    """A worker is gone, and with it what it had not finished."""

    worker: int
    reason: str


Event = Ready | Unmade | Finished | Raised | Lost


class Crew(Protocol):
    """Workers, by number. A worker takes its batches in the order in which they were sent to it."""

    @property
    def depth(self) -> int:
        """How many unfinished batches a worker may hold."""
        ...

    @property
    def patience(self) -> float:
        """Seconds for which workers may be lost at their start before it counts as hopeless."""
        ...

    def start(self) -> int:
        """Begin to start a worker and return its number; `Ready`, `Unmade` or `Lost` follows."""
        ...

    def send(self, worker: int, ticket: int, batch: Any) -> None:
        """Give a batch to a worker that is ready; `Finished`, `Raised` or `Lost` follows."""
        ...

    def events(self, timeout: float) -> list[Event]:
        """What was reported, waiting at most `timeout` seconds for the first report."""
        ...

    def close(self) -> None:
        """End every worker."""
        ...


def reason_of(error: BaseException) -> str:
    """One line: the message of a ValueError, which is meant for users; of others the type and place too."""
    message = " ".join(str(error).split())
    if isinstance(error, ValueError) and message:
        return message
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].name}, line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
    return f"{type(error).__name__}: {message}{place}" if message else f"{type(error).__name__}{place}"
