"""Checkpoints: what a strategy needs to go on, written so that a kill at any instant loses little."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hvnas.search.seams import Keys

_STATE = "state.npz"
_KEYS = "seen.bin"


@dataclass(frozen=True)
class State:
    """Arrays and plain data that a strategy resumes from; `keys` are those of all rows evaluated so far."""

    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]
    keys: Keys = field(default_factory=lambda: np.empty(0, dtype=np.uint64))


class Checkpoint:
    """Keeps nothing: the checkpoint of a run without a folder."""

    def due(self) -> bool:
        """Whether it is time to save."""
        return False

    def load(self) -> State | None:
        """What was saved last, None before anything was."""
        return None

    def save(self, state: State) -> None:
        """Keep `state`; its `keys` are those added since the last save."""


class FolderCheckpoint(Checkpoint):
    """A checkpoint in a folder: ``state.npz`` replaced in one step, ``seen.bin`` appended to before that.

    Nothing is pickled: arrays are plain, the rest is JSON. `every` is the time between saves in seconds.
    Keys beyond the count that the state names belong to a save that was cut, and are ignored.
    """

    def __init__(self, folder: Path, *, every: float) -> None:
        self._folder = folder
        self._every = every
        self._last = time.monotonic()
        self._saved_keys = 0

    def due(self) -> bool:
        """Whether `every` seconds have passed since the last save."""
        return time.monotonic() - self._last >= self._every

    def load(self) -> State | None:
        """What was saved last. Raises ValueError where a file was damaged."""
        path = self._folder / _STATE
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            meta = json.loads(bytes(arrays.pop("meta")).decode())
            self._saved_keys = int(meta.pop("saved_keys"))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path}: damaged ({error}); start the run anew under another name") from None
        return State(arrays=arrays, meta=meta, keys=self._load_keys())

    def _load_keys(self) -> Keys:
        path = self._folder / _KEYS
        if self._saved_keys == 0:
            return np.empty(0, dtype=np.uint64)
        keys = np.fromfile(path, dtype="<u8", count=self._saved_keys) if path.is_file() else np.empty(0)
        if len(keys) != self._saved_keys:
            raise ValueError(f"{path}: shorter than the state beside it says; start the run anew")
        return keys.astype(np.uint64)

    def save(self, state: State) -> None:
        """Append the new keys, then replace the state."""
        self._append(state.keys)
        meta = json.dumps({**state.meta, "saved_keys": self._saved_keys}).encode()
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".state.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, meta=np.frombuffer(meta, dtype=np.uint8), **state.arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._folder / _STATE)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._last = time.monotonic()

    def _append(self, keys: Keys) -> None:
        if len(keys) == 0:
            return
        path = self._folder / _KEYS
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(8 * self._saved_keys)
            file.seek(0, os.SEEK_END)
            file.write(keys.astype("<u8").tobytes())
            file.flush()
            os.fsync(file.fileno())
        self._saved_keys += len(keys)
