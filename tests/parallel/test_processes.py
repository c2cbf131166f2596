"""Pools of processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cases import MakePool, PoolCases

from hvnas.parallel import process_pool


class TestProcesses(PoolCases):
    """The cases of every pool."""

    @pytest.fixture
    def make_pool(self) -> MakePool:
        return process_pool


def test_what_cannot_be_sent_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="cannot be sent to another process"):
        process_pool(lambda: str, workers=1)


@pytest.mark.parametrize(("options", "named"), [({"workers": 0}, "workers"), ({"retries": -1}, "retries")])
def test_counts_that_make_no_sense_are_refused(options: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        process_pool(list, **options)


SCRIPT = """
import os, sys
sys.path.insert(0, {folder!r})
import work
from hvnas.parallel import process_pool

if __name__ == "__main__":
    pool = process_pool(work.make_pid, workers=2)
    print(*set(pool.map(range(4))), flush=True)
    {end}
"""


@pytest.mark.parametrize("end", ["pass", "os._exit(1)"])
def test_no_worker_outlives_its_parent(tmp_path: Path, repo_root: Path, end: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent), end=end), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(repo_root)}
    # Workers that live on keep the pipe open, and this waiting.
    output = subprocess.run([sys.executable, script], env=environment, capture_output=True, timeout=60)
    assert output.stdout.split(), output.stderr.decode()
