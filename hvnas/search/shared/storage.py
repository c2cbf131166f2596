"""Storages that searches share, with heartbeats: a journal, SQLite, PostgreSQL or MySQL, by Optuna's
classes.

A password in a URL is used to connect and appears nowhere else: not in messages, logs or run folders.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from hvnas._waiting import PATIENCE, end_wait_if_stopped, waiting
from hvnas.search.shared.journal import StorageError, open_journal

if TYPE_CHECKING:
    import optuna
    from sqlalchemy.engine import URL, Engine

__all__ = ["ENVIRONMENT", "Heartbeat", "Storage", "StorageError", "masked", "parse_storage"]


# Run folders keep no password: resuming reads the whole URL here.
ENVIRONMENT = "HVNAS_STORAGE"
_JOURNAL = "journal:"
_SUFFIXES = (".journal", ".log")
_HOW = "give journal:PATH, sqlite:///PATH, or a postgresql:// or mysql:// URL"
# What pip calls the drivers that SQLAlchemy asks for.
_PACKAGES = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "pymysql": "pymysql",
    "mysqldb": "mysqlclient",
    "mysqlconnector": "mysql-connector-python",
}
# Taken for a URL that names no driver, the first one that is installed.
_DRIVERS = {"postgresql": ("psycopg", "psycopg2"), "mysql": ("pymysql", "MySQLdb")}
# A claim whose process has been silent for the grace period is given up. Seconds.
HEARTBEAT_SECONDS, GRACE_SECONDS = 15, 60
_CONNECT_SECONDS = 10
# SQLite waits in a call that no signal ends, so each one is short. Seconds.
_LOCKED_SECONDS, _LOCKED_AT_ONCE = 60.0, 0.5
_LOCKED_PAUSE = 0.05
_OPENING_TRIES = 6


@dataclass(frozen=True)
class Storage:
    """Where a shared study lies: `journal`, a file, or `url`, a database."""

    journal: Path | None = None
    url: URL | None = field(default=None, repr=False)

    @cached_property
    def reference(self) -> str:
        """What finds it again, *** in place of a password; a file by its whole path."""
        if self.url is None:
            return f"{_JOURNAL}{self.journal}"
        url = self.url if self.file is None else self.url.set(database=str(self.file))
        hidden = dict.fromkeys(self._secret_keys, "***")
        shown = url.update_query_dict(hidden).render_as_string(hide_password=True)
        return shown.replace("%2A%2A%2A", "***")

    @property
    def file(self) -> Path | None:
        """The file that it is: a journal or SQLite's; None where it is a server."""
        if self.url is None:
            return self.journal
        if self.url.get_backend_name() == "sqlite" and self.url.database not in (None, "", ":memory:"):
            return Path(str(self.url.database)).resolve()
        return None

    @property
    def _secret_keys(self) -> list[str]:
        keys = () if self.url is None else self.url.query
        return [key for key in keys if "pass" in key.lower() or "pwd" in key.lower()]

    @cached_property
    def _secrets(self) -> list[str]:
        """The passwords as they might stand in a message of the driver, longest first."""
        if self.url is None:
            return []
        found = [str(self.url.password)] if self.url.password else []
        found += [str(self.url.query[key]) for key in self._secret_keys]
        written = self.url.render_as_string(hide_password=False).partition("://")[2].rpartition("@")[0]
        found.append(written.partition(":")[2])
        return sorted((secret for secret in set(found) if secret), key=len, reverse=True)

    def masked(self, text: str) -> str:
        """`text` with every password in it made unreadable."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    @contextmanager
    def reporting(self, what: str = "does not serve any more") -> Iterator[None]:
        """Raise whatever the storage raises within as a StorageError of one line."""
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        own = (optuna.exceptions.UpdateFinishedTrialError, optuna.exceptions.DuplicatedStudyError)
        kinds = (optuna.exceptions.StorageInternalError, SQLAlchemyError, OSError, ValueError, KeyError)
        try:
            with nullcontext() if self.url is None else waiting(f"storage {self.reference}: no answer yet"):
                yield
        except (StorageError, *own):
            raise
        except (*kinds, RuntimeError) as error:
            raise StorageError(
                f"storage {self.reference}: {what} ({self.masked(_reason(error))}); what was told is kept "
                f"there: see that it can be reached, then continue with hvnas resume"
            ) from None

    def open(self) -> optuna.storages.BaseStorage:
        """The storage, made where there is none. Raises StorageError where that does not work."""
        with self.reporting("cannot be opened"):
            if self.journal is not None:
                return open_journal(self.journal)
            return self._open_database()

    def _open_database(self) -> optuna.storages.BaseStorage:
        from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

        started = time.monotonic()
        attempt = 0
        while True:
            try:
                return self._database()
            except (IntegrityError, OperationalError, ProgrammingError) as error:
                attempt += 1
                # Processes that begin together all make the tables; the second is told that they are there.
                made = not isinstance(error, OperationalError) or "already exists" in str(error)
                if _is_locked(error):
                    _wait_for_lock(error, started)
                elif not made or attempt == _OPENING_TRIES:
                    raise
                else:
                    time.sleep(0.1 * attempt)

    def _database(self) -> optuna.storages.BaseStorage:
        from optuna.storages import RDBStorage

        assert self.url is not None
        sqlite = self.url.get_backend_name() == "sqlite"
        connect = {"timeout": _LOCKED_AT_ONCE} if sqlite else {"connect_timeout": _CONNECT_SECONDS}
        try:
            storage = RDBStorage(
                self.url.render_as_string(hide_password=False),
                engine_kwargs={"connect_args": connect, "pool_pre_ping": not sqlite},
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
            )
        except ImportError:
            driver = self.url.get_driver_name()
            package = _PACKAGES.get(driver, driver)
            raise StorageError(
                f"storage {self.reference}: needs the package {package}; install it with "
                f"pip install '{package}'"
            ) from None
        if sqlite:
            _lock_before_reading(storage.engine)
        return storage


def parse_storage(text: str) -> Storage:
    """``journal:PATH``, a path that ends in .journal or .log, or the URL of a database.

    Where *** stands for the password, as in a run folder, it is read from the environment variable
    HVNAS_STORAGE, if that holds the same URL, else left to the driver. Raises StorageError for anything else.
    """
    if text.startswith(_JOURNAL) or ("://" not in text and text.endswith(_SUFFIXES)):
        path = text.removeprefix(_JOURNAL)
        if not path:
            raise StorageError(f"storage {text}: names no file; {_HOW}")
        return Storage(journal=Path(path).expanduser().resolve())
    if "://" not in text:
        raise StorageError(f"storage {text}: is not a storage URL; {_HOW}")
    storage = _parse_url(text)
    if storage.url is None or "***" not in text:
        return storage
    known = os.environ.get(ENVIRONMENT, "")
    if "://" in known and _parse_url(known).reference == storage.reference:
        return _parse_url(known)
    hidden = [key for key, value in storage.url.query.items() if value == "***"]
    return Storage(url=storage.url._replace(password=None).difference_update_query(hidden))


def masked(text: str) -> str:
    """The storage as it may be shown and kept: whole paths, *** in place of a password."""
    return parse_storage(text).reference


def _lock_before_reading(engine: Engine) -> None:
    """Begin every transaction of SQLite as the only one.

    One that reads first and writes later fails at once, however long the timeout, where another process has
    the same in mind; one that begins alone waits its turn, at its beginning and never after.
    """
    from sqlalchemy import event
    from sqlalchemy.exc import OperationalError

    def leave_beginning_to_us(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    def begin(connection: Any) -> None:
        started = time.monotonic()
        while True:
            try:
                connection.exec_driver_sql("BEGIN EXCLUSIVE")
            except OperationalError as error:
                if not _is_locked(error):
                    raise
                _wait_for_lock(error, started)
            else:
                return

    event.listen(engine, "connect", leave_beginning_to_us)
    event.listen(engine, "begin", begin)
    engine.dispose()


def _is_locked(error: BaseException) -> bool:
    return "database is locked" in str(error) or "database table is locked" in str(error)


def _wait_for_lock(error: Exception, started: float) -> None:
    """Return where it is worth another try, else raise: `error`, or KeyboardInterrupt."""
    waited = time.monotonic() - started
    if waited >= _LOCKED_SECONDS:
        raise error
    if waited >= PATIENCE:
        end_wait_if_stopped()
    time.sleep(_LOCKED_PAUSE)


def _parse_url(text: str) -> Storage:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    shown = re.sub(r"//.*@", "//***@", text)
    try:
        url = make_url(re.sub(r"^postgres(?=[:+])", "postgresql", text))
    except (ArgumentError, ValueError):
        raise StorageError(f"storage {shown}: is not a URL; {_HOW}") from None
    backend = url.get_backend_name() if "+" in url.drivername else url.drivername
    if backend not in ("sqlite", *_DRIVERS):
        raise StorageError(f"storage {shown}: {backend} is not supported; {_HOW}")
    if url.drivername in _DRIVERS:
        installed = [name for name in _DRIVERS[url.drivername] if find_spec(name)]
        driver = (installed or _DRIVERS[url.drivername])[0].lower()
        url = url.set(drivername=f"{url.drivername}+{driver}")
    return Storage(url=url)


def _reason(error: BaseException) -> str:
    """The first line of what lies at the bottom of `error`."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


class Heartbeat:
    """Notes every few seconds that this process still works on its claims, where the storage supports it."""

    def __init__(self, store: optuna.storages.BaseStorage) -> None:
        self._store: Any = store
        interval = getattr(store, "get_heartbeat_interval", lambda: None)()
        self.supported = interval is not None
        self._interval = float(interval or 0)
        self._claims: set[int] = set()
        self._stopped = Event()
        self._thread: Thread | None = None

    def start(self, claim: int) -> None:
        """Beat for `claim` now and every few seconds."""
        if not self.supported:
            return
        self.beat_once(claim)
        self._claims.add(claim)
        if self._thread is None:
            self._thread = Thread(target=self._run, name="hvnas-heartbeat", daemon=True)
            self._thread.start()

    def beat_once(self, claim: int) -> None:
        """Beat for `claim` now."""
        if self.supported:
            self._store.record_heartbeat(claim)

    def end(self, claim: int) -> None:
        self._claims.discard(claim)

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            for claim in tuple(self._claims):
                try:
                    self._store.record_heartbeat(claim)
                except Exception:
                    # The search itself meets the same storage soon, and reports it.
                    break
