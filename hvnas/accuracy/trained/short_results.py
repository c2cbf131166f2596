"""Results of short training runs, kept in a file: a line of JSON for each run.

Processes may share the file. A line is appended in one write, so that lines never mix; a line that was cut
off (a full disk, a machine that went down) is passed over, and its run is trained again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hvnas._files import append_line
from hvnas._json import parse_json

Key = tuple[tuple[str, str | int], ...]
FILE = "results.jsonl"


@dataclass(frozen=True)
class Curve:
    """Top-1 on the validation split after each epoch trained so far, in points.

    `diverged` where the loss stopped being finite after these epochs.
    """

    top1: tuple[float, ...] = ()
    diverged: bool = False


def make_key(fields: Mapping[str, str | int]) -> Key:
    """What tells runs apart; equal for equal fields in any order."""
    return tuple(sorted(fields.items()))


def default_folder() -> Path:
    """``hvnas/short_training`` in the user's cache folder (XDG_CACHE_HOME, else ``~/.cache``)."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "hvnas" / "short_training"


class ResultFile:
    """Curves by key; in memory alone where `folder` is None. Raises ValueError where it cannot be written."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / FILE
        self._curves: dict[Key, Curve] = {}
        self._read = 0  # bytes of the file that are in _curves

    def get(self, key: Key) -> Curve:
        """The longest curve known, other processes' included; an empty one where there is none."""
        self._refresh()
        return self._curves.get(key, Curve())

    def put(self, key: Key, curve: Curve) -> None:
        """Keep a curve."""
        self._learn(key, curve)
        if self.path is None:
            return
        line = json.dumps({**dict(key), "top1": list(curve.top1), "diverged": curve.diverged})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_line(self.path, line)
        except OSError as error:
            raise ValueError(
                f"{self.path}: cannot be written ({error.strerror}); choose another folder with cache=DIR"
            ) from None

    def _learn(self, key: Key, curve: Curve) -> None:
        if len(curve.top1) >= len(self._curves.get(key, Curve()).top1):
            self._curves[key] = curve

    def _refresh(self) -> None:
        """Take in the whole lines that were appended since the last look."""
        if self.path is None or not self.path.exists() or self.path.stat().st_size <= self._read:
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            entry = _parsed(line)
            if entry is not None:
                self._learn(*entry)


def _parsed(line: bytes) -> tuple[Key, Curve] | None:
    """The run and its curve, None where the line is none that `put` wrote."""
    try:
        fields = parse_json(line.decode())
        top1, diverged = fields.pop("top1"), fields.pop("diverged")
        known = all(isinstance(value, str | int) for value in fields.values()) and isinstance(diverged, bool)
        percentages = [float(value) for value in top1]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    if not known or not all(0.0 <= value <= 100.0 for value in percentages):
        return None
    return make_key(fields), Curve(tuple(percentages), diverged)
