"""A Ray cluster for as long as a block lasts, one that runs or one of its own, and what it leaves as it
was.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hvnas._waiting import waiting

USUAL_S = 20.0  # that Ray may take to start on a busy machine
# Ray takes no less, and results of evaluations are small.
_OBJECT_STORE_BYTES = 80_000_000
_CONNECT_SECONDS = 10.0
# Sockets lie in the folder, and a socket's path has at most 107 characters, most of them Ray's own.
_LONGEST_TEMP = 24


_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
_SILENT: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
_LOGGERS = ("ray", "ray.tune", "ray.train", "ray.data")


class NoRay(ValueError):
    """Ray is not installed."""


def joined() -> bool:
    """Return whether this process is in a Ray cluster already."""
    import sys

    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


@contextmanager
def ray_cluster(
    address: str | None = None, *, cpus: float | None = None, gpus: float | None = None
) -> Iterator[None]:
    """Be in a Ray cluster inside of the block.

    `address` joins one that runs (``auto``: of this machine; ``HOST:PORT``: of its head) and leaves it
    running. Without one a Ray of this machine's own is started, of `cpus` and `gpus` (None: all there are),
    and stopped after the block with everything it wrote. In a process that is in a cluster already that one
    is used and left as it is. Raises NoRay where Ray is not installed, ValueError where there is no cluster
    at `address`.
    """
    ray = _import_ray()
    if ray.is_initialized():
        with log_level(logging.CRITICAL, *_LOGGERS):
            yield
        return
    if address is not None:
        address = _check_address(address)
    with environment(_QUIET), log_level(logging.CRITICAL, *_LOGGERS), _no_messages():
        if address is None:
            with _local(ray, cpus, gpus):
                yield
        else:
            with _remote(ray, address):
                yield


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise NoRay("Ray is not installed; run: pip install 'hvnas[ray]'") from None
    return ray


@contextmanager
def _no_messages() -> Iterator[None]:
    """Without what Ray prints of workers that died, which it does whatever its log is set to."""
    from ray._private import ray_logging

    # There is no switch but for the whole process; a Ray without this one prints a line more.
    printer = getattr(ray_logging, "stdout_deduplicator", None)
    before = getattr(printer, "skip_re", None)
    if printer is not None:
        printer.skip_re = re.compile("")
    try:
        yield
    finally:
        if printer is not None:
            printer.skip_re = before


@contextmanager
def _local(ray: Any, cpus: float | None, gpus: float | None) -> Iterator[None]:
    folder = Path(tempfile.mkdtemp(prefix="hv-ray-", dir=_short_temp()))
    try:
        # Ray's handler of SIGTERM would stay, and end the process where it stands.
        with waiting("Ray has not started yet", patience=USUAL_S), own_signals():
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
                **_SILENT,
            )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _remote(ray: Any, address: str) -> Iterator[None]:
    try:
        with waiting(f"Ray at {address} has not answered yet", patience=USUAL_S), own_signals():
            ray.init(address=address, **_SILENT)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"address: cannot join the Ray cluster at {address} ({reason}); is it running, with the same "
            "versions of Ray and Python? One that asks for a token needs RAY_AUTH_MODE=token here too"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> str:
    """`address` again, if somebody listens there; Ray itself would wait long, and tell of it at length."""
    if address == "auto":
        return address
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in address:
        raise ValueError(f"address: must be auto or HOST:PORT, got {address!r}; Ray's own port is 6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ValueError(
            f"address: nothing answers at {address} ({error}); start a cluster there with 'ray start --head'"
        ) from None
    return address


def _short_temp() -> str:
    usual = tempfile.gettempdir()
    return "/tmp" if len(usual) > _LONGEST_TEMP and os.access("/tmp", os.W_OK) else usual


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables set inside of the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def own_signals() -> Iterator[None]:
    """What handles signals is after the block what it was before; for calls that set handlers for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


@contextmanager
def log_level(level: int, *names: str) -> Iterator[None]:
    """The loggers of these names at `level`."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, old in zip(loggers, before, strict=True):
            logger.setLevel(old)
