"""How evolution's time and memory grow with the evaluations; each scale in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise

from _bench_common import Report, Settings

from hvnas.search import Checkpoint, Problem
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.evolution import Evolution

TIMES, PEAK_MB = 11, 1024
LARGE = 10_000_000
# Another search fills the tables first: their cost, paid once, would make the growth look smaller than it is.
_WARM_UP = 100_000


@dataclass(frozen=True)
class Cost:
    """Of one run: wall and processor time in seconds, peak resident memory of its process in MB."""

    evaluated: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


def run(settings: Settings, report: Report) -> None:
    """A bar for every step of ten, and one for the memory."""
    costs = [measured(settings, evals) for evals in settings.scales]
    for cost in costs:
        rate = cost.evaluated / cost.seconds
        report.line(
            f"{cost.evaluated:11,d} evaluations  {cost.seconds:8.2f} s  ({cost.cpu_seconds:8.2f} s of CPU)"
            f"  {rate:9,.0f}/s  peak {cost.peak_mb:7.1f} MB"
        )
    for small, large in pairwise(costs):
        what = f"{large.evaluated:,} evaluations over {small.evaluated:,}, times"
        report.at_most(TIMES, large.seconds / small.seconds, what)
        growth = 1e6 * (large.peak_mb - small.peak_mb) / (large.evaluated - small.evaluated)
        ratio = large.cpu_seconds / small.cpu_seconds
        report.line(f"of CPU time {ratio:.2f} times; memory per further evaluation {growth:.0f} bytes")
    report.at_most(PEAK_MB, max(c.peak_mb for c in costs), "peak memory of any, MB", digits=0)


def measured(settings: Settings, evals: int) -> Cost:
    """`evals` evaluations in a fresh process."""
    options = [settings.space, settings.device, settings.budget_ms, evals]
    command = [sys.executable, __file__, *map(str, options)]
    # The same package as here, wherever this process has it from.
    paths = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"the run of {evals:,} evaluations failed: {done.stderr.strip()[-500:]}")
    return Cost(**json.loads(done.stdout))


def alone(problem: Problem, evals: int) -> Cost:
    """`evals` evaluations here, where nothing else has run."""
    _evolve(problem, min(_WARM_UP, evals), seed=1)
    start, cpu_start = time.perf_counter(), time.process_time()
    evaluated = _evolve(problem, evals, seed=0)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return Cost(evaluated, seconds, cpu_seconds, peak)


def _evolve(problem: Problem, evals: int, *, seed: int) -> int:
    return (
        Evolution().run(problem, evals=evals, seed=seed, progress=Silent(), checkpoint=Checkpoint()).evaluated
    )


if __name__ == "__main__":
    space, device, budget_ms, evals = sys.argv[1:]
    problem = Settings(space=space, device=device, budget_ms=float(budget_ms)).problem()
    print(json.dumps(alone(problem, int(evals)).__dict__))
