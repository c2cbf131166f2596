"""What was worked out beforehand: files that ship, and files in the user's cache folder.

A file holds arrays under a key, which names all that they depend on. One whose key is another, or that is
damaged, is as good as none: what it would hold is worked out again. Where the cache folder cannot be written
nothing is kept. The environment's ``HVNAS_CACHE`` names another folder; ``off`` is none, and nothing that
ships is read either.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvnas._files import data_dir, replacing

Arrays = dict[str, NDArray[np.generic]]
Ints = NDArray[np.int64]
VARIABLE, OFF = "HVNAS_CACHE", "off"
SUFFIX = ".npz"
_KEY = "key"
_PACKAGE = Path(__file__).resolve().parent


def cache_folder() -> Path | None:
    """The user's cache folder, which need not be there; None where nothing is to be kept."""
    given = os.environ.get(VARIABLE, "")
    if given == OFF:
        return None
    if given:
        return Path(given)
    from platformdirs import user_cache_path

    # Without a home there is no folder either.
    with suppress(RuntimeError, OSError):
        return user_cache_path("hvnas", appauthor=False)
    return None


def shipped_folder() -> Path | None:
    """The folder of the files that ship; None where they are not to be read."""
    return None if os.environ.get(VARIABLE) == OFF else _compiled()


def _compiled() -> Path:
    return data_dir("search_spaces") / "compiled"


def cached_files() -> list[Path]:
    """The files in the user's cache folder, those of an interrupted writing among them, sorted."""
    folder = cache_folder()
    if folder is None or not folder.is_dir():
        return []
    names = (f"*{SUFFIX}", f".*{SUFFIX}.*.part")
    return sorted(path for name in names for path in folder.glob(name) if path.is_file())


def read_cached(name: str, key: str) -> Arrays | None:
    """The arrays of the cached file `name`, None where there is none under this key."""
    folder = cache_folder()
    return None if folder is None else read_arrays(folder / f"{name}{SUFFIX}", key)


def read_shipped(name: str, key: str) -> Arrays | None:
    """The arrays of the shipped file `name`, None where it is of another key."""
    folder = shipped_folder()
    return None if folder is None else read_arrays(folder / f"{name}{SUFFIX}", key)


def read_arrays(path: Path, key: str) -> Arrays | None:
    """The arrays in a file; None for another key or any damage, which the file's own check sums tell."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if _KEY not in file or text_of(file[_KEY]) != key:
                return None
            return {name: file[name] for name in file.files if name != _KEY}
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return None


def keep(name: str, key: str, arrays: Mapping[str, NDArray[np.generic]]) -> bool:
    """Write the cached file `name` in one step; whether that could be done."""
    folder = cache_folder()
    if folder is None:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(folder / f"{name}{SUFFIX}", key, arrays)
    except OSError:
        return False
    return True


def ship(name: str, key: str, arrays: Mapping[str, NDArray[np.generic]]) -> Path:
    """Write the file `name` of those that ship, and return its path."""
    path = _compiled() / f"{name}{SUFFIX}"
    path.parent.mkdir(exist_ok=True)
    write_arrays(path, key, arrays, small=True)
    return path


def write_arrays(
    path: Path, key: str, arrays: Mapping[str, NDArray[np.generic]], *, small: bool = False
) -> None:
    """Write what `read_arrays` reads, in one step, `small` for less room and more time.

    Raises OSError where that cannot be done.
    """
    kept: dict[str, Any] = {_KEY: text_array(key), **dict(sorted(arrays.items()))}
    with replacing(path) as part, part.open("wb") as file:
        (np.savez_compressed if small else np.savez)(file, **kept)


def text_array(text: str) -> NDArray[np.uint8]:
    """Text as an array, for a file."""
    return np.frombuffer(text.encode(), dtype=np.uint8)


def text_of(array: NDArray[np.generic]) -> str:
    """The reverse of `text_array`."""
    return array.tobytes().decode()


class SparseRows(NamedTuple):
    """Rows of numbers of which few are unusual, as files hold them.

    Row k has ``values[code[start[k]:start[k + 1]]]`` at `place`, as indices.
    """

    start: NDArray[np.integer]
    place: NDArray[np.integer]
    code: NDArray[np.integer]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, arrays: Arrays, name: str) -> SparseRows:
        """Those stored under a name."""
        return cls(*(arrays[f"{name}.{field}"] for field in cls._fields))  # type: ignore[arg-type]

    @classmethod
    def packed(cls, rows: Sequence[NDArray[np.float64]], usual: NDArray[np.float64]) -> SparseRows:
        """Of dense rows, all that is not as in `usual`."""
        places, values = [], []
        for row in rows:
            place = np.flatnonzero((row != usual) & ~(np.isnan(row) & np.isnan(usual)))
            places.append(place.astype(np.uint16))
            values.append(row[place])
        start = np.cumsum([0, *map(len, places)]).astype(np.int32)
        joined = np.concatenate([np.empty(0), *values])
        distinct, code = np.unique(joined, return_inverse=True)
        place = np.concatenate([np.empty(0, dtype=np.uint16), *places])
        kind = np.uint16 if len(distinct) < 1 << 16 else np.uint32
        return cls(start, place, code.astype(kind), distinct)

    def stored(self, name: str) -> Arrays:
        """The reverse of `of`."""
        return {f"{name}.{field}": np.asarray(getattr(self, field)) for field in self._fields}

    def row(self, k: int, into: NDArray[np.float64]) -> NDArray[np.float64]:
        """Row k put into `into`."""
        part = slice(int(self.start[k]), int(self.start[k + 1]))
        into[self.place[part]] = self.values[self.code[part]]
        return into

    def numbers(self, rows: Ints) -> tuple[Ints, Ints, NDArray[np.float64]]:
        """The numbers of `rows` [m], one row after the other: whose each is, its place, itself."""
        owner, index = ranges(self.start[rows], self.start[rows + 1])
        return owner, self.place[index].astype(np.int64), self.values[self.code[index]]

    def spread(self, rows: Ints, usual: NDArray[np.float64]) -> NDArray[np.float64]:
        """`rows` [m], each put into a copy of `usual` [k]. Shape [m, k]."""
        found = np.tile(usual, (len(rows), 1))
        owner, place, values = self.numbers(rows)
        found[owner, place] = values
        return found


def ranges(starts: NDArray[Any], ends: NDArray[Any]) -> tuple[Ints, Ints]:
    """The whole numbers from each start up to its end, one range after the other, and the range of each."""
    lengths = ends.astype(np.int64) - starts
    owner = np.repeat(np.arange(len(lengths)), lengths)
    before = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) + (starts - before)[owner]


def digest_of(parts: Iterable[str]) -> str:
    """16 hexadecimal digits of texts."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


@cache
def code_hash(*places: str) -> str:
    """16 hexadecimal digits of this package's source in `places`: modules' files, and folders of them."""
    whole = hashlib.blake2b(digest_size=8)
    for path in _sources(places):
        whole.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0")
        whole.update(path.read_bytes())
    return whole.hexdigest()


def _sources(places: Iterable[str]) -> Iterator[Path]:
    for place in places:
        path = _PACKAGE / place
        yield from [path] if path.suffix else sorted(path.glob("*.py"))
