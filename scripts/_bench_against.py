"""This checkout against another commit, run in turn on this machine: ratios of time, with their bars.

The other commit comes to lie in a temporary folder (git worktree) and runs in this Python environment. Each
figure is the least of its rounds, ours over theirs. Processor time is that of the whole process.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from _bench_common import Report

ROOT = Path(__file__).resolve().parent.parent
MAIN = ("search", "--budget-ms", "2", "--device", "iphone12", "--seed", "0", "-q")
EVALS, WARM_EVALS = "10000", 200_000
SEEDS, QUALITY_BUDGETS = 5, ("1", "2", "5")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("show", "efficientformer_l1"),
    ("models",),
    ("devices",),
    ("spaces",),
    ("latency", "predict", "--arch", "efficientformer_l1", "--device", "iphone12"),
)
# A space of the user's own: the default one without one of its resolutions.
OWN_SPACE = """schema: hvnas.space/1
name: own
description: the default space at four resolutions
parent: hybrid-mobile
resolution: [160, 192, 224, 256]
"""
WARM = f"""
import json, time
import numpy as np
from hvnas.search import make_problem
from hvnas.search.reach import find_reach
try:
    from hvnas.search.strategies.evolution import Evolution
    from hvnas.search.runs.session import Silent
    from hvnas.search.runs.checkpoint import Checkpoint
except ImportError:
    from hvnas.search.evolution import Evolution
    from hvnas.search.seams import Silent
    from hvnas.search.state import Checkpoint
problem = make_problem("hybrid-mobile", "iphone12", "surrogate", budget_ms=2.0)
row = problem.space.canonicalise(np.zeros((1, len(problem.space.genes)), dtype=np.int16))
start = time.process_time()
problem.evaluate(row)
one = time.process_time() - start
problem = problem.with_seeds(find_reach(problem).min_row[None])
times = []
for _ in range(2):
    start = time.process_time()
    Evolution().run(problem, evals={WARM_EVALS}, seed=0, progress=Silent(), checkpoint=Checkpoint())
    times.append(time.process_time() - start)
rows = problem.space.sample(10000, rng=np.random.default_rng(0), macs=(0.1e9, 5e9))
problem.evaluate(rows)
start = time.process_time()
problem.evaluate(rows)
print(json.dumps({{"one": one, "evolution": min(times), "rows": time.process_time() - start}}))
"""


@dataclass
class Run:
    """Least processor time and wall time, in seconds, and most memory, in MB, of the runs of one command."""

    cpu: float = float("inf")
    wall: float = float("inf")
    memory: float = 0.0
    output: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    def add(self, other: Run) -> None:
        """Take another run of the same command in."""
        self.cpu, self.wall = min(self.cpu, other.cpu), min(self.wall, other.wall)
        self.memory, self.output = max(self.memory, other.memory), other.output
        for name, value in other.figures.items():
            self.figures[name] = min(value, self.figures.get(name, value))


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Another commit of this repository, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="hvnas-bench-") as folder:
        path = Path(folder) / "other"
        git = ("git", "-C", str(ROOT), "worktree")
        subprocess.run([*git, "add", "--detach", str(path), commit], check=True, capture_output=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=False, capture_output=True)


def run(tree: Path, arguments: Sequence[str], *, cache: Path) -> Run:
    """One process of Python in `tree`. Raises RuntimeError with what it said where it fails."""
    environment = os.environ | {"PYTHONPATH": str(tree), "HVNAS_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    # As for people, who do not compile the sources anew each time.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = str(cache.parent / "bytecode")
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as wrong:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=tree, env=environment, stdout=said, stderr=wrong
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        wrong.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments[:6])} in {tree}: {wrong.read()[-500:]}")
        return Run(usage.ru_utime + usage.ru_stime, wall, _megabytes(usage), said.read())


def _megabytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


class Contest:
    """Both trees, in turn, each command as often as `rounds`."""

    def __init__(self, other: Path, folder: Path, report: Report, *, rounds: int) -> None:
        self.trees = {"ours": ROOT, "theirs": other}
        self.folder, self.report, self.rounds = folder, report, rounds
        self._count = 0

    def runs(self, make: Callable[[Path], Sequence[str]], *, warm: bool) -> tuple[Run, Run]:
        """Ours and theirs. `make` gives the arguments of a run from a folder to write.

        Where it is `warm` all runs share a cache folder, and one run before the first round fills it.
        """
        found = {name: Run() for name in self.trees}
        for number in range(self.rounds + warm):
            for name, tree in self.trees.items():
                self._count += 1
                out = self.folder / str(self._count)
                cache = self.folder / ("cache" if warm else f"cache-{self._count}")
                one = run(tree, make(out), cache=cache)
                if number >= warm:
                    found[name].add(one)
        return found["ours"], found["theirs"]

    def bar(self, bound: float, ours: float, theirs: float, what: str) -> None:
        """A ratio with its bar, and both figures."""
        self.report.at_most(bound, ours / theirs, f"{what} ({ours:.3g} to {theirs:.3g})")

    def module(self, arguments: Sequence[str], *, warm: bool = True) -> tuple[Run, Run]:
        """Of ``python -m hvnas`` with these arguments."""
        return self.runs(lambda _: ("-m", "hvnas", *arguments), warm=warm)

    def search(self, *more: str, warm: bool = True) -> tuple[Run, Run]:
        """Of the main job with further options."""
        return self.runs(lambda out: ("-m", "hvnas", *MAIN, *more, "--out", str(out)), warm=warm)


def compare(commit: str, report: Report, *, rounds: int, quality: bool) -> None:
    """Print each bar."""
    with checkout(commit) as other, tempfile.TemporaryDirectory(prefix="hvnas-bench-") as folder:
        contest = Contest(other, Path(folder), report, rounds=rounds)
        report.section(f"Processes, against {commit}: processor time in s, ours over theirs")
        _bench_searches(contest, Path(folder))
        for command in (("--help",), *COMMANDS):
            ours, theirs = contest.module(command)
            contest.bar(1.0 if command == ("--help",) else 1 / 3, ours.cpu, theirs.cpu, " ".join(command))
        ours, theirs = contest.runs(lambda _: ("-c", "import hvnas"), warm=True)
        contest.bar(1.0, ours.cpu, theirs.cpu, "import hvnas")
        report.section("In one process, warm")
        _bench_warm(contest)
        if quality:
            report.section("Quality of the defaults: objective of the best network, median over seeds")
            _bench_quality(contest)


def _bench_searches(contest: Contest, folder: Path) -> None:
    ours, theirs = contest.search("--evals", EVALS)
    contest.bar(1 / 4, ours.cpu, theirs.cpu, f"main job at {EVALS} evaluations, processor")
    contest.bar(1 / 4, ours.wall, theirs.wall, f"main job at {EVALS} evaluations, wall")
    contest.bar(1.0, ours.memory, theirs.memory, f"main job at {EVALS} evaluations, memory in MB")
    ours, theirs = contest.search()
    contest.bar(1 / 2, ours.wall, theirs.wall, "main job at each default number of evaluations, wall")
    space = folder / "own.yaml"
    space.write_text(OWN_SPACE, encoding="utf-8")
    ours, theirs = contest.search("--evals", EVALS, "--space", str(space), warm=False)
    contest.bar(1 / 2, ours.cpu, theirs.cpu, "first run in a space of one's own, processor")


def _bench_warm(contest: Contest) -> None:
    ours, theirs = contest.runs(lambda _: ("-c", WARM), warm=True)
    mine, others = json.loads(ours.output), json.loads(theirs.output)
    ratio = others["evolution"] / mine["evolution"]
    contest.report.at_least(3.0, ratio, f"warm rate of evolution over {WARM_EVALS:,}, ours over theirs")
    contest.bar(1 / 3, mine["rows"], others["rows"], "evaluation of 10,000 warm rows")
    contest.bar(1 / 3, mine["one"], others["one"], "one architecture from cold")


def _bench_quality(contest: Contest) -> None:
    for budget in QUALITY_BUDGETS:
        best: dict[str, list[float]] = {"ours": [], "theirs": []}
        for seed in range(SEEDS):
            options = ("--budget-ms", budget, "--seed", str(seed), "--json", "-q", "--device", "iphone12")
            for name, tree in contest.trees.items():
                out = str(contest.folder / f"quality-{name}-{budget}-{seed}")
                done = run(
                    tree, ("-m", "hvnas", "search", *options, "--out", out), cache=contest.folder / "cache"
                )
                found = json.loads(done.output)["best"]
                best[name].append(found["top1"] - found["top1_sd"])
        mine, others = (sorted(best[name])[SEEDS // 2] for name in ("ours", "theirs"))
        gain = 0.5 if budget == "1" else 0.0
        contest.report.at_least(
            gain, mine - others, f"points more at {budget} ms ({mine:.2f} to {others:.2f})"
        )
