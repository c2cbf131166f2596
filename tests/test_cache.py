"""The cache: whole files or none, for the key that they were written under."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hvnas import _cache as cache

ARRAYS = {"a": np.arange(5, dtype=np.int16), "b": np.linspace(0, 1, 7).reshape(7, 1)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HVNAS_CACHE", str(tmp_path / "new" / "cache"))
    return tmp_path / "new" / "cache"


def test_what_is_kept_is_read_again(folder: Path) -> None:
    assert cache.keep("one", "key", ARRAYS)
    read = cache.read_cached("one", "key")
    assert read is not None
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_another_key_is_none(folder: Path) -> None:
    cache.keep("one", "key", ARRAYS)
    assert cache.read_cached("one", "other") is None
    assert cache.read_cached("two", "key") is None


@pytest.mark.parametrize("place", np.linspace(0.0, 0.999, 60).tolist())
def test_a_damaged_file_is_none(folder: Path, place: float) -> None:
    cache.keep("one", "key", ARRAYS)
    (path,) = cache.cached_files()
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0xFF
    path.write_bytes(data)
    read = cache.read_cached("one", "key")
    # Some bytes of the format, such as those of a date, say nothing.
    assert read is None or all(np.array_equal(read[name], array) for name, array in ARRAYS.items())


@pytest.mark.parametrize("size", [0, 3, 40, -1])
def test_a_file_that_was_cut_is_none(folder: Path, size: int) -> None:
    cache.keep("one", "key", ARRAYS)
    (path,) = cache.cached_files()
    path.write_bytes(path.read_bytes()[:size])
    assert cache.read_cached("one", "key") is None


def test_off_keeps_and_reads_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.keep("one", "key", ARRAYS)
    monkeypatch.setenv("HVNAS_CACHE", "off")
    assert not cache.keep("two", "key", ARRAYS)
    assert cache.read_cached("one", "key") is None
    assert cache.shipped_folder() is None
    assert cache.cached_files() == []


def test_a_folder_that_cannot_be_written_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HVNAS_CACHE", str(tmp_path / "file" / "cache"))
    assert not cache.keep("one", "key", ARRAYS)
    assert cache.cached_files() == []


def test_a_process_killed_while_it_writes_leaves_nothing_that_is_read(folder: Path) -> None:
    code = """
import os, numpy as np
from pathlib import Path
from hvnas import _cache as cache
real = Path.replace
Path.replace = lambda self, target: os.kill(os.getpid(), 9)
cache.keep("one", "key", {"a": np.arange(1000)})
"""
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)
    assert done.returncode == -9
    assert cache.read_cached("one", "key") is None
    assert len(cache.cached_files()) == 1  # what was left, for `hvnas cache --clear`


def test_code_hash_tells_files_apart() -> None:
    assert cache.code_hash("ops") != cache.code_hash("blocks")
    assert cache.code_hash("ops") == cache.code_hash("ops")
