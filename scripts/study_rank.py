"""Does a supernet order networks of one size, and does it matter how it was trained?

    python scripts/study_rank.py --out rank          # some 15 minutes of one core, plus 20 for each scheme
    python scripts/study_rank.py --out rank --quick  # the mechanics alone, in a minute
    python scripts/study_rank.py --out rank --space hybrid-small --resolution 64 --device cuda

Trains a supernet of the space by each scheme on `shapes`, draws members in bins of MACs (+-20 %), trains
each by itself with two seeds, and prints what `hvnas supernet rank` prints: Kendall's tau and Spearman's rho,
over all members and inside the bins, of inherited accuracy and of scores that cost next to nothing. All that
is trained is kept in the folder: called again, it goes on, and further schemes share the trainings of single
networks. Epochs differ between the schemes because their steps do: each has about the same processor time.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from hvnas.cli._screen import Screen
from hvnas.cli.supernet.rank import show
from hvnas.studies.rank import RIVALS, RankOptions, rank
from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import resume, start, train_supernet

# Of 8,192 images in batches of 32. A sandwich step trains four members, one of them the largest.
EPOCHS = {"spreading": 54, "sandwich": 4, "conflict-aware": 4, "single-path": 54, "fair": 4, "shrinking": 4}
CENTRES = (2e6, 3e6, 4.5e6)  # MACs of hybrid-tiny's smaller half at 32 px, with 16 classes
ALONE = 12_288  # images of each network's own training, seen once


def main() -> int:
    options = _parse()
    torch.set_num_threads(options.threads)
    folders = [options.out / scheme for scheme in options.schemes]
    for folder, scheme in zip(folders, options.schemes, strict=True):
        _supernet(folder, scheme, options)
    started, spent = time.perf_counter(), time.process_time()
    report = rank(folders, out=options.out, options=_rank_options(options), progress=_line)
    assert report is not None
    _took("networks by themselves and scores", started, spent)
    show(report, Screen())
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of supernets and results")
    parser.add_argument("--space", default="hybrid-tiny")
    parser.add_argument(
        "--schemes", nargs="+", default=["spreading", "sandwich", "single-path", "conflict-aware"]
    )
    parser.add_argument("--resolution", type=int, default=None)
    parser.add_argument("--archs", type=int, default=30)
    parser.add_argument("--macs", type=float, nargs="+", default=None, help="middles of the bins")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=None, help="of every supernet")
    parser.add_argument("--device", default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


def _supernet(folder: Path, scheme: str, options: argparse.Namespace) -> None:
    started, spent = time.perf_counter(), time.process_time()
    request = SupernetRequest(
        space=options.space,
        data="shapes",
        resolution=options.resolution,
        train_size=64 if options.quick else None,
        test_size=64 if options.quick else None,
        epochs=1 if options.quick else options.epochs or EPOCHS[scheme],
        scheme=scheme,
    )
    begun = resume(request, folder) if SupernetFolder(folder).holds_run else start(request, folder)
    result = train_supernet(begun, device=options.device).result
    _took(
        f"{scheme}: loss {result.history[-1].loss:.3f}, one member {result.history[-1].top1:.1f}",
        started,
        spent,
    )


def _rank_options(options: argparse.Namespace) -> RankOptions:
    if options.quick:
        return RankOptions(
            archs=6,
            centres=CENTRES[:2],
            train_size=64,
            test_size=64,
            rivals=("params", "naswot"),
            device=options.device,
        )
    centres = tuple(options.macs) if options.macs else None
    return RankOptions(
        archs=options.archs,
        centres=centres or (CENTRES if options.space == "hybrid-tiny" else None),
        seeds=options.seeds,
        train_size=ALONE,
        rivals=RIVALS,
        device=options.device,
    )


def _line(done: int, total: int, doing: str) -> None:
    print(f"{done} of {total}; next {doing}", file=sys.stderr, flush=True)


def _took(what: str, started: float, spent: float) -> None:
    seconds, cpu = time.perf_counter() - started, time.process_time() - spent
    print(f"{what}; {seconds:.0f} s, {cpu:.0f} s of processor", flush=True)


if __name__ == "__main__":
    sys.exit(main())
