"""Files: whole or not at all, named where the system refuses them; text that would be a formula."""

from __future__ import annotations

import csv
import errno
import io
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hvnas._files import naming, replacing, write_atomic, write_together
from hvnas._records import csv_text, from_cell, to_cell

Limit = Callable[[int], AbstractContextManager[None]]
NAMES = ["=1+1", "+cmd|' /C calc'!A0", "-x", "@SUM(A1)", "\tx", "\rx", "'=x", "''@", "＝1", "-", "=", "+1+2"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def write_tensors(path: Path) -> None:
    torch = pytest.importorskip("torch")
    from hvnas.nn.weights import save_weights

    save_weights({"weight": torch.zeros(100_000)}, path)


def write_text(path: Path) -> None:
    write_atomic(path, "x" * 400_000)


def write_two(path: Path) -> None:
    write_together({path.with_name("other"): "x", path: "x" * 400_000})


def write_export(path: Path) -> None:
    from hvnas.export.target import writing

    with writing(path) as part:
        part.write_bytes(b"x" * 400_000)


WRITERS = [write_text, write_two, write_tensors, write_export]


@pytest.mark.parametrize("write", WRITERS)
class TestWhatCannotBeWritten:
    def check(self, write: Callable[[Path], None], path: Path, *codes: int) -> None:
        before = {file: file.read_bytes() for file in path.parent.iterdir()}
        with pytest.raises(OSError) as error:
            write(path)
        assert error.value.errno in codes
        assert error.value.filename == str(path)
        assert {file: file.read_bytes() for file in path.parent.iterdir()} == before

    def test_a_full_disk(self, write: Callable[[Path], None], disk: Path) -> None:
        (disk / "file").write_text("before")
        (disk / "other").write_text("before")
        self.check(write, disk / "file", errno.ENOSPC)

    def test_a_limit_on_files(self, write: Callable[[Path], None], tmp_path: Path, limited_to: Limit) -> None:
        (tmp_path / "file").write_text("before")
        (tmp_path / "other").write_text("before")
        with limited_to(100_000):
            self.check(write, tmp_path / "file", errno.EFBIG)

    def test_a_folder_that_is_not_there(self, write: Callable[[Path], None], tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError) as error:
            write(tmp_path / "none" / "file")
        assert error.value.filename == str(tmp_path / "none" / "file")

    def test_a_read_only_disk(self, write: Callable[[Path], None], disk: Path) -> None:
        (disk / "file").write_text("before")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        self.check(write, disk / "file", errno.EROFS)


class TestNaming:
    def test_an_error_about_another_folder_is_left_alone(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError) as error, naming(tmp_path / "file"):
            Path("/nowhere/else").read_text()
        assert error.value.filename == "/nowhere/else"

    def test_an_error_that_is_none_of_the_system_is_left_alone(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="a bug"), naming(tmp_path / "file"):
            raise RuntimeError("a bug")

    def test_a_library_that_only_tells_of_a_full_disk(self, disk: Path) -> None:
        def write() -> None:
            with replacing(disk / "model") as part:
                try:
                    part.write_bytes(b"x" * 400_000)
                except OSError:
                    raise RuntimeError("cannot write the model") from None

        with pytest.raises(OSError) as error:
            write()
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(disk / "model"))
        assert list(disk.iterdir()) == []


class TestCells:
    @pytest.mark.parametrize("name", NAMES)
    def test_no_formula_is_written_and_the_name_is_read_back(self, name: str) -> None:
        text = csv_text([{"name": name, name: 1}])
        header, (cell, _) = list(csv.reader(io.StringIO(text, newline="")))
        for written in (header[1], cell):
            assert written[0] == "'"
            assert from_cell(written) == name

    @pytest.mark.parametrize("name", ["", "x", "'", "'x", "it's", "a=b", "-1.5", "+3", "-1e-3", "-inf"])
    def test_all_else_stays(self, name: str) -> None:
        assert to_cell(name) == from_cell(name) == name

    def test_numbers_stay(self) -> None:
        assert csv_text([{"a": -1.5, "b": None, "c": -2}]) == "a,b,c\n-1.5,,-2\n"
