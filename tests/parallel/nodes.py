"""A Ray cluster of several nodes on this machine, each started by ``ray start`` in a process of its own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# A dead machine is noticed in seconds, not in half a minute.
# Nobody else on the network may join, and no token is to be left in the home folder.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(16),
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class Node:
    """One node; the first, without `head`, is the cluster's head, at `address`."""

    def __init__(self, folder: Path, *, cpus: int, head: Node | None = None) -> None:
        self.address = f"127.0.0.1:{free_port()}" if head is None else head.address
        where = [
            "--head",
            f"--port={self.address.partition(':')[2]}",
            f"--temp-dir={folder}",
            "--include-dashboard=false",
        ]
        if head is not None:
            where = [f"--address={self.address}"]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from ray.scripts.scripts import main; main()",
                "start",
                *where,
                "--node-ip-address=127.0.0.1",
                f"--num-cpus={cpus}",
                "--object-store-memory=80000000",
                "--disable-usage-stats",
                "--block",
            ],
            env=os.environ | ENVIRONMENT,
            cwd=Path(__file__).parents[2],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """The machine goes away: every process of the node is killed at once, workers too."""
        for number in [*_below(self._process.pid), self._process.pid]:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()


def wait_for(address: str, *, nodes: int, seconds: float = 90.0) -> None:
    """Wait until the cluster has so many nodes; asked in a process of its own, which then leaves it."""
    code = (
        "import ray, sys, time\n"
        f"ray.init(address={address!r}, log_to_driver=False, logging_level='CRITICAL')\n"
        f"while sum(n['Alive'] for n in ray.nodes()) < {nodes}: time.sleep(0.2)\n"
    )
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | ENVIRONMENT,
            timeout=seconds,
            capture_output=True,
        )
        if done.returncode == 0:
            return
        time.sleep(0.5)
    raise TimeoutError(f"no {nodes} nodes at {address}: {done.stderr.decode()}")


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def _below(pid: int) -> list[int]:
    """The processes that `pid` started, and those that they did, parents first."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}
    found, reached = [], {pid}
    while reached:
        reached = {child for child, parent in parents.items() if parent in reached}
        found += sorted(reached)
    return found
