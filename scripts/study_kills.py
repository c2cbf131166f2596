"""Kill searches at random instants, resume them, and compare their files with those of a run left alone.

    python scripts/study_kills.py --kills 100

Every run is killed (SIGKILL) up to three times, at an instant drawn evenly over the time that a whole run
takes, then resumed to its end. After each kill every file of the folder is read, to see that none is half
there; at the end pareto.csv, best.yaml and archs/ must be those of the run left alone, byte for byte.

The state is saved every 0.1 s rather than every few seconds, so that kills fall between many saves. Runs are
forks of this process, which has loaded the command but nothing of the search's data.
"""

from __future__ import annotations

import argparse
import csv
import functools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import hvnas.search.run
from hvnas.arch import load_arch
from hvnas.cli.app import app
from hvnas.search.runs.checkpoint import FolderCheckpoint
from hvnas.search.runs.folder import ARCHS, BEST, FRONT, STATE, SearchFolder

SAVED_EVERY = 0.1
KILLS_PER_RUN = 3
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Search:
    """The command that is run, but for its folder."""

    options: tuple[str, ...]
    log: Path

    def start(self, folder: Path) -> int:
        """The process that begins the run in `folder`, or goes on with it; returns its id."""
        begun = SearchFolder(folder).holds_run
        arguments = ["resume", str(folder)] if begun else ["search", *self.options, "--out", str(folder)]
        process = os.fork()
        if process == 0:
            os._exit(self._run(arguments))
        return process

    def _run(self, arguments: list[str]) -> int:
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        hvnas.search.run.execute = functools.partial(hvnas.search.run.execute, checkpoint_seconds=SAVED_EVERY)
        try:
            app(arguments)
        except SystemExit as end:
            sys.stdout.flush()
            return int(end.code or 0)
        except BaseException as error:
            print(repr(error), flush=True)
            return 1
        return 0

    def finish(self, folder: Path) -> None:
        """Run to the end. Raises SystemExit where it fails."""
        _, status = os.waitpid(self.start(folder), 0)
        if status != 0:
            raise SystemExit(f"{folder}: ended with status {status}; see {self.log}")

    def kill(self, folder: Path, *, after: float) -> bool:
        """Run, and kill after so many seconds; False where it had ended by then."""
        process, end = self.start(folder), time.monotonic() + after
        while time.monotonic() < end:
            if os.waitpid(process, os.WNOHANG)[0]:
                return False
            time.sleep(min(_POLL_SECONDS, max(0.0, end - time.monotonic())))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        return os.WIFSIGNALED(status)


def stage(folder: Path) -> str:
    """How far the run in `folder` had come when it was killed."""
    if not SearchFolder(folder).holds_run:
        return "before its config.yaml"
    state = FolderCheckpoint(folder / STATE, every=0).load()
    if state is None:
        return "before its first state"
    if not state.meta.get("finished"):
        return "while it searched"
    return "while it wrote its files" if not (folder / BEST).is_file() else "at its end"


def check_whole(folder: Path) -> None:
    """Read every file that is there under its own name. Raises ValueError where one is half there."""
    if not SearchFolder(folder).holds_run:
        return
    _ = SearchFolder(folder).config
    FolderCheckpoint(folder / STATE, every=0).load()
    for path in (folder / BEST, *(folder / ARCHS).glob("*")):
        if path.exists():
            load_arch(path)
    if (folder / FRONT).is_file():
        text = (folder / FRONT).read_text(encoding="utf-8")
        widths = {len(row) for row in csv.reader(text.splitlines())}
        if len(widths) != 1 or not text.endswith("\n"):
            raise ValueError(f"{folder / FRONT}: half there")


def outputs(folder: Path) -> dict[str, bytes]:
    """The files that a seed decides, by name."""
    files = [folder / FRONT, folder / BEST, *sorted((folder / ARCHS).iterdir())]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def study(search: Search, folder: Path, *, kills: int, seed: int) -> bool:
    """Kill and resume until `kills` have hit; whether all runs ended as the one left alone. Prints both."""
    began = time.monotonic()
    search.finish(folder / "whole")
    whole, seconds = outputs(folder / "whole"), time.monotonic() - began
    print(f"A run left alone: {seconds:.1f} s, {len(whole)} files", flush=True)
    draw, hit, missed, runs, same = random.Random(seed), Counter[str](), 0, 0, 0
    while hit.total() < kills:
        run = folder / f"run-{runs}"
        for _ in range(min(KILLS_PER_RUN, kills - hit.total())):
            if search.kill(run, after=draw.uniform(0, seconds)):
                check_whole(run)
                hit[stage(run)] += 1
            else:
                missed += 1
        began = time.monotonic()
        search.finish(run)
        runs += 1
        same += outputs(run) == whole
        left = [path.name for path in run.rglob(".*") if path.name != STATE]
        if left:
            raise SystemExit(f"{run}: left behind: {', '.join(left)}")
        print(f"{hit.total()} kills, {runs} runs, {same} the same", flush=True)
        if outputs(run) == whole:
            shutil.rmtree(run)
    print(f"\n{hit.total()} kills hit ({missed} came after the end), in {runs} runs:")
    for name, count in hit.most_common():
        print(f"  {count:3d} {name}")
    print(f"{same} of {runs} runs ended with the files of the run left alone, byte for byte")
    return same == runs


def main() -> None:
    """Parse the options and study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--evals", type=int, default=20_000)
    parser.add_argument("--strategy", default="evolution")
    parser.add_argument("--space", default="hybrid-mobile")
    parser.add_argument("--device", default="iphone12")
    parser.add_argument("--budget-ms", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0, help="of the instants; that of the searches is 0")
    parser.add_argument("--folder", type=Path, help="for the runs; default: a temporary one")
    asked = parser.parse_args()
    names = ("space", "device", "strategy", "evals", "budget_ms")
    options = [f"--{name.replace('_', '-')}={getattr(asked, name)}" for name in names]
    folder = Path(tempfile.mkdtemp(dir=asked.folder, prefix="kills-"))
    search = Search(options=tuple(options), log=folder / "log.txt")
    print(" ".join(["hvnas search", *options]))
    if not study(search, folder, kills=asked.kills, seed=asked.seed):
        raise SystemExit(f"some runs ended otherwise; they are kept in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
