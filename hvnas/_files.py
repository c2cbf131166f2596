"""Files: read although they may be hostile, written whole or not at all, and found beside the code."""

from __future__ import annotations

import codecs
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from hvnas._names import brief, shown

MAX_BYTES = 8 * 2**20
MAX_JSON_BYTES = 64 * 2**20
# A disk with less is full: file systems give blocks of that size.
_FULL_BYTES = 64 * 2**10

# How a message that is about a field begins.
_FIELD = re.compile(r"([\w@+-]+(?:\.[\w@+-]+)*): ")

_PACKAGE = Path(__file__).resolve().parent


@contextmanager
def refusing(path: str | Path) -> Iterator[None]:
    """Make each ValueError inside one line of at most 500 characters that names the file `path`.

    Of a YAML file it names the line too, where the message begins with a field of it.
    """
    try:
        yield
    except ValueError as error:
        said = brief(_with_line(str(error), path))
        named = said if brief(str(path)) in said else brief(f"{path}: {said}")
        raise ValueError(named) from None


def _with_line(message: str, path: str | Path) -> str:
    """`message` with the line of the field that it begins with, such as ``stages.0.width: ...``."""
    field = _FIELD.match(message)
    if field is None or Path(path).suffix not in (".yaml", ".yml"):
        return message
    if "line " in message or message.startswith(str(path)):
        return message
    from yaml import YAMLError

    from hvnas._yaml import line_of

    # Not as `read_text`, whose own refusals come here. What is wrong is known: the line is no more than help.
    with suppress(OSError, ValueError, YAMLError):
        if Path(path).is_file() and Path(path).stat().st_size <= MAX_BYTES:
            line = line_of(Path(path).read_text(encoding="utf-8-sig"), field[1].split("."))
            placed = f"({path})"
            if line is not None and placed in message:
                return message.replace(placed, f"({path}, line {line})")
            if line is not None:
                return f"{message} (line {line})"
    return message


def open_regular(path: str | Path, *, limit: int | None = None) -> BinaryIO:
    """A regular file, open for reading bytes; of at most `limit` bytes where that is given.

    Raises ValueError naming the file, also for a folder, and for a pipe or a device, which may not end.
    """
    with refusing(path):
        if "\0" in str(path):
            raise ValueError(f"{path}: holds a NUL byte; check the path")
        try:
            status = Path(path).stat()
            if stat.S_ISDIR(status.st_mode):
                raise ValueError(f"{path}: is a directory; give a file")
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{path}: is a pipe or a device; give a regular file")
            if limit is not None and status.st_size > limit:
                raise ValueError(f"{path}: {_too_large(limit)}")
            return Path(path).open("rb")
        except OSError as error:
            raise ValueError(f"{path}: {_reason(error).lower()}; check the path") from None


def read_text(path: str | Path, *, limit: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file of at most `limit` bytes, without a mark of byte order, lines ending in LF.

    Raises ValueError, one line, naming the file where that cannot be had.
    """
    with refusing(path), open_regular(path, limit=limit) as file:
        try:
            # One byte more: files of /proc and the like have no size.
            data = file.read(limit + 1)
        except OSError as error:
            raise ValueError(f"{_reason(error).lower()}; check the path") from None
        if len(data) > limit:
            raise ValueError(_too_large(limit))
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError("text in UTF-16; save it as UTF-8")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError("not a text file (UTF-8); check the path") from None
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _too_large(limit: int) -> str:
    return f"larger than {limit // 2**20} MiB; hvnas did not write this file"


def read_yaml(path: str | Path, *, schema: str) -> dict[str, Any]:
    """A YAML mapping whose `schema` field is `schema`; see `hvnas._yaml` for what it may hold.

    Raises ValueError, one line, naming the file and what is wrong with it.
    """
    from hvnas._yaml import parse_yaml

    text = read_text(path)
    try:
        data = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    return _under_schema(data, path, schema)


def read_mapping(path: str | Path, *, schema: str) -> dict[str, Any]:
    """The same of a file that is JSON where its name ends so."""
    if Path(path).suffix != ".json":
        return read_yaml(path, schema=schema)
    with refusing(path):
        return _under_schema(read_json(path), path, schema)


def _under_schema(data: Any, path: str | Path, schema: str) -> dict[str, Any]:
    if data is None:
        raise ValueError(f"{path}: is empty; it must hold a mapping with schema: {schema}")
    if not isinstance(data, dict):
        raise ValueError(f"{path}: must hold a mapping with schema: {schema}, found {type(data).__name__}")
    if data.get("schema") != schema:
        raise ValueError(f"{path}: schema: must be {schema}, got {shown(data.get('schema'))}")
    return data


def read_json(path: str | Path, *, limit: int = MAX_JSON_BYTES) -> Any:
    """The value in a JSON file of at most `limit` bytes; see `hvnas._json` for what it may hold.

    Raises ValueError, one line, naming the file and what is wrong with it, by line.
    """
    from hvnas._json import parse_json

    with refusing(path):
        text = read_text(path, limit=limit)
        try:
            return parse_json(text)
        except ValueError as error:
            raise ValueError(f"{path}: not valid JSON: {error}") from None


def refuse_unknown(data: Mapping[str, Any], allowed: Iterable[str], prefix: str, where: str) -> None:
    """Raise ValueError naming the first field of `data` that is not `allowed`, and those that are."""
    fields = list(allowed)
    for key in data:
        if key not in fields:
            raise ValueError(
                f"{prefix}{str(key)[:60]}: unknown field; the fields here are {', '.join(fields)} ({where})"
            )


def check_parent(path: Path) -> None:
    """Raise ValueError where the folder that `path` is to lie in is not there."""
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent} to write to; create it")


def write_atomic(path: str | Path, text: str) -> None:
    """Replace `path` by `text` in one step: a reader sees the old file or the new one, whole.

    Raises OSError naming `path` where it cannot be written; the old file is still there then.
    """
    write_together({path: text})


def append_line(path: str | Path, line: str) -> None:
    """Add a line to a file, in one write so that the lines of several processes never mix.

    It stands alone where the line before was cut. Raises OSError naming `path`.
    """
    with naming(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            end = os.lseek(handle, 0, os.SEEK_END)
            os.lseek(handle, max(0, end - 1), os.SEEK_SET)
            data = (line if os.read(handle, 1) in (b"", b"\n") else f"\n{line}").encode() + b"\n"
            # A disk that is full takes a part of it, and says why with the next write.
            while data:
                data = data[os.write(handle, data) :]
        finally:
            os.close(handle)


def write_together(texts: Mapping[str | Path, str]) -> None:
    """Replace files by texts, in their order, once all of them are on the disk. Raises as `write_atomic`."""
    with ExitStack() as stack:
        # What was entered last takes its place first.
        for path, text in reversed(list(texts.items())):
            part = stack.enter_context(replacing(path))
            with naming(path):
                part.write_text(text, encoding="utf-8")
                _sync(part)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """An empty file to write, which takes the place of `path` in one step unless an exception leaves.

    Raises OSError naming `path` where it cannot be written.
    """
    path = Path(path)
    with naming(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        part = Path(name)
        try:
            # Before what was written goes: a full disk shows by the room that is left.
            with naming(path):
                yield part
            _sync(part)
            part.chmod(0o644)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Raise failures to write inside as an OSError that names `path`, a file or a folder to be written.

    The system names no file where a write fails, or the temporary one; libraries raise errors of their own
    where a disk is full. An OSError about a file of another folder is left as it is.
    """
    folder = Path(path).parent.absolute()
    try:
        yield
    except OSError as error:
        about = None if error.filename is None else Path(os.fsdecode(error.filename)).absolute()
        if about is None or folder in (about, *about.parents):
            raise OSError(error.errno or errno.EIO, _reason(error), str(path)) from None
        raise
    except ValueError:
        raise
    except Exception as error:
        number = _system_error(error, folder)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from None


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _system_error(error: Exception, folder: Path) -> int | None:
    """The error of the system behind a library's own, None where there is none."""
    # As libraries in Rust and C++ write it.
    told = re.search(r"\(os error (\d+)\)", str(error))
    if told:
        return int(told[1])
    with suppress(OSError):
        if shutil.disk_usage(folder).free < _FULL_BYTES:
            return errno.ENOSPC
    return None


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make the names in a folder last through a loss of power, where the system can."""
    # Not every system opens folders, and not every file system syncs them.
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def data_dir(name: str) -> Path:
    """Return the folder of shipped data called ``name``.

    An installed wheel carries the folder inside the package, as ``hvnas/_data/NAME``; a checkout keeps it
    at the root of the repository, beside ``hvnas/``. The former wins where both exist.

    Args:
        name: the folder's name, such as ``"search_spaces"`` or ``"latency_tables"``.

    Raises:
        ValueError: neither place holds such a folder.
    """
    candidates = (_PACKAGE / "_data" / name, _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise ValueError(
        f"the data folder {name!r} is missing from this installation "
        f"(looked for {' and '.join(map(str, candidates))}). "
        "Reinstall hvnas, or run it from a complete checkout."
    )
