"""What was worked out beforehand: files that ship, and files in the user's cache folder.

A file holds arrays, or plain data, under a key, which names all that they depend on. One whose key is
another, or that is damaged, is as good as none: what it would hold is worked out again. Where the cache
folder cannot be written nothing is kept. The environment's ``HVNAS_CACHE`` names another folder; ``off`` is
none, and nothing that ships is read either.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvnas._files import data_dir, replacing, write_atomic

if TYPE_CHECKING:
    # Commands that read plain data alone start twice as fast without it.
    import numpy as np
    from numpy.typing import NDArray

Arrays = dict[str, "NDArray[np.generic]"]
VARIABLE, OFF = "HVNAS_CACHE", "off"
SUFFIX, FACTS_SUFFIX = ".npz", ".txt"
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
    import zipfile
    import zlib

    import numpy as np

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
    write_arrays(path, key, arrays)
    return path


def read_facts(name: str, key: str) -> Any:
    """The plain data of the shipped file `name`, None where it is of another key or damaged."""
    folder = shipped_folder()
    if folder is None:
        return None
    try:
        head, _, text = (folder / f"{name}{FACTS_SUFFIX}").read_text(encoding="utf-8").partition("\n")
        return json.loads(text) if head == _head(key, text) else None
    except (OSError, ValueError):
        return None


def ship_facts(name: str, key: str, facts: Any) -> Path:
    """Write the file of plain data `name` that ships, and return its path."""
    path, text = _compiled() / f"{name}{FACTS_SUFFIX}", json.dumps(facts, separators=(",", ":"))
    write_atomic(path, f"{_head(key, text)}\n{text}")
    return path


def _head(key: str, text: str) -> str:
    """The first line of a file of plain data: its key, and a check sum."""
    return f"{key} {digest_of([text])}"


def write_arrays(path: Path, key: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write what `read_arrays` reads, in one step. Raises OSError where that cannot be done."""
    import numpy as np

    kept: dict[str, Any] = {_KEY: text_array(key), **dict(sorted(arrays.items()))}
    with replacing(path) as part, part.open("wb") as file:
        # Compressed, what ships would take three times as long to read; wheels compress it anyway.
        np.savez(file, **kept)


def text_array(text: str) -> NDArray[np.uint8]:
    """Text as an array, for a file."""
    import numpy as np

    return np.frombuffer(text.encode(), dtype=np.uint8)


def text_of(array: NDArray[np.generic]) -> str:
    """The reverse of `text_array`."""
    return array.tobytes().decode()


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
