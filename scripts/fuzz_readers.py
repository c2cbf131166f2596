"""Damage a valid file of every format that is read, thousands of times, and look at every answer.

    python scripts/fuzz_readers.py --count 20000 --seed 0

Every file is read by the door that the commands read it by, and must be read or refused within a second of
processor time, in one line of at most 500 characters that names the file. Anything else is a fault: it is
counted, the first ones of each reader are shown, and the exit status is 1. `--only READER` tries one reader,
`--keep FOLDER` writes the files that led to faults there.

Readers run in a process of their own, which is killed where it does not answer.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fuzz"))
# One core: seconds of processor time are counted.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fuzzing.readers import READERS
from fuzzing.trial import Fault, Trial, shares

SHOWN = 3
# A process that says nothing for so long hangs where no signal reaches it. Seconds.
PATIENCE = 90.0
# More than that no file of a few kilobytes may need.
MOST_BYTES = 6 * 2**30


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the readers; 1 where there are faults."""
    asked = _parser().parse_args(arguments)
    readers = READERS if asked.only is None else {name: READERS[name] for name in asked.only}
    total = faulty = 0
    started = time.monotonic()
    for name, count in shares(readers, asked.count).items():
        begun = time.monotonic()
        faults = list(_faults(name, count, asked.seed))
        total, faulty = total + count, faulty + len(faults)
        print(
            f"{name:20} {count:6} files {len(faults):5} faults {time.monotonic() - begun:7.1f} s", flush=True
        )
        for fault in faults[:SHOWN]:
            print(f"    {fault.index} {fault.file}: {fault.what}", flush=True)
        if asked.keep is not None:
            _keep(faults, asked.keep, asked.seed)
    print(f"{total} files, {faulty} faults, seed {asked.seed}, {time.monotonic() - started:.0f} s")
    return int(faulty > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000, help="files, over all readers")
    parser.add_argument("--seed", type=int, default=0, help="the same seed damages the same files alike")
    parser.add_argument("--only", action="append", choices=sorted(READERS), help="this reader; repeat it")
    parser.add_argument("--keep", type=Path, help="the folder to write files with faults to")
    return parser


def _keep(faults: Sequence[Fault], folder: Path, seed: int) -> None:
    for fault in faults:
        place = folder / f"{fault.reader}-{seed}-{fault.index}"
        place.mkdir(parents=True, exist_ok=True)
        (place / fault.file).write_bytes(fault.data)


def _faults(name: str, count: int, seed: int) -> Iterator[Fault]:
    """The faults of a reader. Where its process dies or hangs, the next one goes on behind that file."""
    start = 0
    while start < count:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(
            target=_try, args=(theirs, name, start, count, seed)
        )
        process.start()
        theirs.close()
        while start < count:
            try:
                answer = ours.recv() if ours.poll(PATIENCE) else None
                died = False
            except EOFError:
                answer, died = None, True
            if answer is None:
                yield Fault(name, start, "?", "kills the process" if died else "hangs beyond any signal", b"")
                start += 1
                break
            start += 1
            if isinstance(answer, Fault):
                yield answer
        process.kill()
        process.join()


def _try(answers: Connection, name: str, start: int, count: int, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (as long as the process)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(READERS[name], Path(folder) / name)
        for fault in trial.faults(range(start, count), seed=seed):
            answers.send(fault or True)


if __name__ == "__main__":
    raise SystemExit(main())
