"""Readers tried on damaged files."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from fuzzing.mutations import mutate
from fuzzing.reader import Reader
from fuzzing.verdict import fault_of


@dataclass(frozen=True)
class Fault:
    """The file number `index` of a reader and seed, called `file`, and what was wrong with the answer."""

    reader: str
    index: int
    file: str
    what: str
    data: bytes


def shares(readers: Mapping[str, Reader], count: int) -> dict[str, int]:
    """How many files each reader gets of `count`."""
    whole = sum(reader.share for reader in readers.values())
    return {name: round(count * reader.share / whole) for name, reader in readers.items()}


class Trial:
    """A reader with its valid files in `folder`, which it must take."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.folder = reader, folder
        self._remake()
        for path, _ in self.files:
            reader.read(path)
        self._remake()

    def _remake(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.files = list(self.reader.make(self.folder))
        self._before = {p: p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}

    def damaged(self, index: int, *, seed: int) -> tuple[Path, bytes]:
        """A file and what it holds at the `index` of a seed."""
        rng = random.Random(crc32(f"{self.reader.name} {seed} {index}".encode()))
        path, kind = rng.choice(self.files)
        return path, mutate(self._before[path], kind, rng)

    def faults(self, indices: range, *, seed: int) -> Iterator[Fault | None]:
        """What is wrong with the answer to each file, None where nothing is."""
        for index in indices:
            path, data = self.damaged(index, seed=seed)
            path.write_bytes(data)
            what = fault_of(self.reader.read, path, self.reader.names(path))
            self._restore()
            yield None if what is None else Fault(self.reader.name, index, path.name, what, data)

    def _restore(self) -> None:
        """Put back what is beside the damaged file, too: readers that resume write."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path not in self._before:
                path.unlink()
        for path, data in self._before.items():
            if not path.is_file() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
