"""Checkpoints: what a strategy needs to go on, written so that a kill at any instant loses little."""

from __future__ import annotations

import io
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hvnas._files import replacing
from hvnas._numbers import shortened
from hvnas._runs import writing
from hvnas.search.rows import Keys

_STATE = "state.npz"
_KEYS = "seen.bin"
RESUME_HINT = "fix that, then continue with hvnas resume from what was saved last"
# What taking up a state raises whose arrays or numbers are not what a strategy saved.
_DAMAGE = (LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, StopIteration)


@dataclass(frozen=True)
class State:
    """Arrays and plain data that a strategy resumes from; `keys` are those of all rows evaluated so far."""

    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]
    keys: Keys = field(default_factory=lambda: np.empty(0, dtype=np.uint64))


class Stopped(Exception):
    """The run was asked to stop, and its state is saved."""


class Checkpoint:
    """Keeps nothing: the checkpoint of a run without a folder."""

    def due(self) -> bool:
        """Return whether it is time to save."""
        return False

    def load(self) -> State | None:
        """Return what was saved last, None before anything was."""
        return None

    def restore(self, take: Callable[[State], object]) -> bool:
        """Give what was saved last to `take`; False where nothing was. Raises ValueError as `restoring`."""
        state = self.load()
        if state is None:
            return False
        with self.restoring():
            take(state)
        return True

    def restoring(self) -> AbstractContextManager[None]:
        """Raise what a state of other contents than were saved makes fail inside as ValueError naming it."""
        return _restoring(self)

    def damaged(self, reason: str) -> ValueError:
        """Return the error for a state that is not as it was saved."""
        return ValueError(f"the saved state is damaged ({shortened(reason)}); start the run anew")

    def save(self, state: State) -> None:
        """Keep `state`; its `keys` are those added since the last save."""

    def keep(self, name: str, write: Callable[[Path], None]) -> None:
        """Have `write` make a file of the run's own called `name`; nothing where the run has no folder."""

    def stopping(self) -> bool:
        """Return whether the run is asked to stop: the next `save` raises Stopped then."""
        return False


class FolderCheckpoint(Checkpoint):
    """A checkpoint in a folder: ``state.npz`` replaced in one step, ``seen.bin`` appended to before that.

    Nothing is pickled: arrays are plain, the rest is JSON. `every` is the time between saves in seconds.
    Keys beyond the count that the state names belong to a save that was cut, and are ignored. A state goes
    on only under the `mark` that it was saved under, such as a checksum of what the run was asked for.
    """

    def __init__(self, folder: Path, *, every: float, mark: int | None = None) -> None:
        self._folder = folder
        self._every = every
        self._mark = mark
        self._last = time.monotonic()
        self._saved_keys = 0
        self._checksum = 0

    def due(self) -> bool:
        """Whether `every` seconds have passed since the last save."""
        return time.monotonic() - self._last >= self._every

    def load(self) -> State | None:
        """What was saved last. Raises ValueError where a file was damaged, or the mark is another."""
        path = self._folder / _STATE
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            meta = json.loads(bytes(arrays.pop("meta")).decode())
            # States of earlier versions have none.
            if meta.pop("digest", None) not in (None, _digest(arrays, meta)):
                raise ValueError("its checksum does not match")
            self._saved_keys = int(meta.pop("saved_keys"))
            checksum, mark = meta.pop("checksum", None), meta.pop("mark", None)
            if meta.pop("arrays", len(arrays)) != len(arrays):
                raise ValueError("an array is missing")
        # What is not a state can end the readers of NumPy and of zip files in any exception.
        except Exception as error:
            raise self.damaged(str(error)) from None
        if None not in (mark, self._mark) and mark != self._mark:
            raise ValueError(
                f"{self._folder.parent}: its config.yaml was changed after the run began; "
                "put it back as it was, or start a new run"
            )
        return State(arrays=arrays, meta=meta, keys=self._load_keys(checksum))

    def damaged(self, reason: str) -> ValueError:
        """Names the file."""
        return ValueError(
            f"{self._folder / _STATE}: damaged ({shortened(reason)}); start the run anew under another name"
        )

    def _load_keys(self, checksum: int | None) -> Keys:
        path = self._folder / _KEYS
        if self._saved_keys == 0:
            return np.empty(0, dtype=np.uint64)
        keys = np.fromfile(path, dtype="<u8", count=self._saved_keys) if path.is_file() else np.empty(0)
        if len(keys) != self._saved_keys:
            raise ValueError(f"{path}: shorter than the state beside it says; start the run anew")
        self._checksum = zlib.crc32(keys.tobytes())
        if checksum not in (None, self._checksum):
            raise ValueError(f"{path}: damaged (its checksum does not match); start the run anew")
        return keys.astype(np.uint64)

    def save(self, state: State) -> None:
        """Append the new keys, then replace the state.

        Raises ValueError, one line, where the folder takes no more: what was saved last is still there.
        """
        with writing(self._folder.parent, RESUME_HINT):
            self._append(state.keys)
            own = {"saved_keys": self._saved_keys, "checksum": self._checksum, "mark": self._mark}
            facts = {**state.meta, **own, "arrays": len(state.arrays)}
            meta = json.dumps(facts | {"digest": _digest(state.arrays, facts)}).encode()
            # Whole in memory first: a zip file that a full disk cut short complains again when it is closed.
            whole = io.BytesIO()
            np.savez(whole, meta=np.frombuffer(meta, dtype=np.uint8), **state.arrays)  # type: ignore[arg-type]
            with replacing(self._folder / _STATE) as part:
                part.write_bytes(whole.getbuffer())
        self._last = time.monotonic()

    def keep(self, name: str, write: Callable[[Path], None]) -> None:
        """Have `write` make the file `name` in the run's folder."""
        with writing(self._folder.parent, RESUME_HINT):
            write(self._folder.parent / name)

    def _append(self, keys: Keys) -> None:
        if len(keys) == 0:
            return
        path = self._folder / _KEYS
        new = keys.astype("<u8").tobytes()
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(8 * self._saved_keys)
            file.seek(0, os.SEEK_END)
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
        self._saved_keys += len(keys)
        self._checksum = zlib.crc32(new, self._checksum)


@contextmanager
def _restoring(checkpoint: Checkpoint) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise checkpoint.damaged(f"{type(error).__name__}: {error}") from None
    except ValueError as error:
        # Those of the searches' own kinds say what is wrong themselves.
        if type(error) is not ValueError:
            raise
        raise checkpoint.damaged(str(error)) from None


def _digest(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> int:
    """CRC-32 of all that a state holds."""
    checksum = zlib.crc32(json.dumps(meta, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        checksum = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), checksum)
        checksum = zlib.crc32(np.ascontiguousarray(array).data.cast("B") if array.size else b"", checksum)
    return checksum
