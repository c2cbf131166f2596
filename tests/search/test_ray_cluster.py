"""A search on a Ray cluster of two nodes, one of which goes away in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed; see the extra 'ray'")

sys.path.insert(0, str(Path(__file__).parents[1] / "parallel"))

from nodes import ENVIRONMENT, Node, wait_for

SEARCH = """
import sys
from hvnas.search import Checkpoint
from hvnas.search.engines.ray_batches import run_on_ray
from hvnas.search.request import Engine
from hvnas.search.strategies.registry import strategy_entry
from hvnas.testing.estimators import Synthetic, expensive_problem
from hvnas.testing.strategies import LANDSCAPES, Landscape
from hvnas.search.runs.session import Silent


class Watcher(Silent):
    def advanced(self, archive, *, evals):
        print(archive.evaluated, flush=True)

    def failed(self, row, reason):
        print("failed:", reason, flush=True)


problem = expensive_problem(LANDSCAPES[1], Synthetic(0.5), budget_ms=100.0)
engine = Engine(name="ray", address=sys.argv[2], max_retries=3)
for strategy in sys.argv[1].split(","):
    run_on_ray(
        strategy_entry(strategy).make(), problem, evals=24, seed=0,
        progress=Watcher(), checkpoint=Checkpoint(), engine=engine,
    )
    print("done", flush=True)
"""


@contextmanager
def two_nodes() -> Iterator[tuple[Node, Node]]:
    # Ray's sockets lie in it, and have short names.
    with tempfile.TemporaryDirectory(prefix="hv-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        head = Node(Path(folder), cpus=1)
        try:
            wait_for(head.address, nodes=1)
            other = Node(Path(folder), cpus=1, head=head)
            try:
                wait_for(head.address, nodes=2)
                yield head, other
            finally:
                other.kill()
        finally:
            head.kill()


@pytest.mark.slow
def test_a_lost_node_loses_no_evaluation() -> None:
    with two_nodes() as (head, other):
        search = subprocess.Popen(
            [sys.executable, "-c", SEARCH, "random,evolution", head.address],
            cwd=Path(__file__).parents[2],
            env=os.environ | ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert search.stdout is not None
        lines = []
        for line in search.stdout:
            lines.append(line.strip())
            if lines[-1] == "6":
                other.kill()
        assert search.wait(timeout=60) == 0, lines
        # The cluster goes on: a second search joined it after the first had left.
        assert lines.count("done") == 2
        first = lines[: lines.index("done")]
        assert first == [str(count) for count in range(1, 25)]
        assert lines[-2] == "24"
