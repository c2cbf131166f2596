"""Pools of Ray's actors, on a Ray of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import work
from cases import MakePool, PoolCases

from hvnas.parallel import actor_pool, fitting, joined, ray_cluster
from hvnas.parallel.actors import Actors

ray = pytest.importorskip("ray", reason="Ray is not installed; see the extra 'ray'")

# As they are before Ray starts; a process begun in the background ignores SIGINT.
HANDLERS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    # Workers find what is installed, not what lies beside a test.
    ray.cloudpickle.register_pickle_by_value(work)
    with ray_cluster(cpus=2):
        yield


class TestActors(PoolCases):
    """The cases of every pool."""

    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Actors, "patience", 0.0)

    @pytest.fixture
    def make_pool(self) -> MakePool:
        return actor_pool


def test_functions_without_a_module_travel_too() -> None:
    with actor_pool(lambda: lambda x: x + 1, workers=1) as pool:
        assert list(pool.map([1, 2])) == [2, 3]


def test_as_many_workers_as_fit() -> None:
    assert fitting(cpus=1) == 2
    assert fitting(cpus=0.5) == 4
    with actor_pool(lambda: str, cpus=1) as pool:
        assert pool.workers == 2
    with pytest.raises(ValueError, match="3 CPUs and 0 GPUs"):
        fitting(cpus=3)
    with pytest.raises(ValueError, match="64 GPUs"):
        actor_pool(lambda: str, gpus=64)


def test_a_cluster_that_is_there_is_used_and_left() -> None:
    with ray_cluster(cpus=1):
        assert fitting(cpus=1) == 2
    assert joined()


def test_an_address_where_nobody_listens() -> None:
    code = f"from hvnas.parallel import ray_cluster\nwith ray_cluster('127.0.0.1:{_free_port()}'): pass"
    assert "nothing answers at 127.0.0.1" in _run(code).stderr
    assert "must be auto or HOST:PORT" in _run(code.replace("127.0.0.1:", "ray://127.0.0.1:")).stderr


QUIET = """
import os, signal
from hvnas.parallel import actor_pool, ray_cluster

before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
with ray_cluster(cpus=1):
    assert before == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with actor_pool(lambda: lambda x: print("from a worker"), workers=1) as pool:
        list(pool.map([1]))
    with actor_pool(lambda: lambda x: os._exit(1), workers=1, retries=0) as pool:
        print(*pool.outcomes([1]))
"""


def test_nothing_is_left_on_screen_or_disk(tmp_path: Path) -> None:
    done = _run(QUIET, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Failure(index=0, attempts=1, reason='its worker was lost" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def test_signals_are_those_of_the_caller() -> None:
    assert {number: signal.getsignal(number) for number in HANDLERS} == HANDLERS
