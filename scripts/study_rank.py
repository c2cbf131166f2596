"""Does a supernet order networks of one size, and does it matter how it was trained?

    python scripts/study_rank.py --out rank          # some 15 minutes of one core, plus 20 for each scheme
    python scripts/study_rank.py --out rank --quick  # the mechanics alone, in a minute
    python scripts/study_rank.py --out rank --space hybrid-small --resolution 64 --device cuda
    python scripts/study_rank.py --out rank --data hf:uoft-cs/cifar10 --resolution 32 --schemes spreading \\
        --epochs 11 --alone-size 25600 --alone-epochs 2 --known 25

Trains a supernet of the space by each scheme, draws members in bins of MACs (+-20 %), trains each by itself
with two seeds, and prints what `hvnas supernet rank` prints: Kendall's tau and Spearman's rho, over all
members and inside the bins, of inherited accuracy and of scores that cost next to nothing. All that is
trained is kept in the folder: called again, it goes on, and further schemes share the trainings of single
networks. On `shapes`, epochs differ between the schemes because their steps do: each has about the same
processor time.

With --known, so many other members are drawn from the same bins and trained by themselves, once each, and a
predictor learns from them: from what costs nothing alone (size and blocks by type), and with inherited top-1
and loss as well, which corrects what the supernet misjudges.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _corrected import PREDICTED, corrected, inherited

from hvnas.arch import Arch
from hvnas.cli._screen import Screen
from hvnas.cli.supernet.rank import show
from hvnas.studies.alone import Standalone
from hvnas.studies.rank import RIVALS, RankOptions, RankReport, drawn, rank, ranked, trainings
from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import resume, start, train_supernet

# Of 8,192 images in batches of 32. A sandwich step trains four members, one of them the largest.
EPOCHS = {"spreading": 54, "sandwich": 4, "conflict-aware": 4, "single-path": 54, "fair": 4, "shrinking": 4}
CENTRES = (2e6, 3e6, 4.5e6)  # MACs of hybrid-tiny's smaller half at 32 px, with 16 classes
ALONE = 12_288  # images of each network's own training, seen once
KNOWN_SEED = 100  # of the draw of the networks that a predictor learns from


def main() -> int:
    options = _parse()
    torch.set_num_threads(options.threads)
    folders = [options.out / scheme for scheme in options.schemes]
    for folder, scheme in zip(folders, options.schemes, strict=True):
        _supernet(folder, scheme, options)
    started, spent = time.perf_counter(), time.process_time()
    report = rank(folders, out=options.out, options=_rank_options(options), progress=_line)
    assert report is not None
    if options.known:
        report = _with_predictors(report, folders, options)
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
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--resolution", type=int, default=None)
    parser.add_argument("--archs", type=int, default=30)
    parser.add_argument("--macs", type=float, nargs="+", default=None, help="middles of the bins")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the draw of the members")
    parser.add_argument("--epochs", type=int, default=None, help="of every supernet")
    parser.add_argument("--alone-size", type=int, default=ALONE, help="images of each network's own training")
    parser.add_argument("--alone-epochs", type=int, default=None, help="of each network's own training")
    parser.add_argument("--test-size", type=int, default=None)
    parser.add_argument("--known", type=int, default=0, help="other members that a predictor learns from")
    parser.add_argument("--device", default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


def _supernet(folder: Path, scheme: str, options: argparse.Namespace) -> None:
    started, spent = time.perf_counter(), time.process_time()
    request = SupernetRequest(
        space=options.space,
        data=options.data,
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
            seed=options.seed,
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
        seed=options.seed,
        epochs=options.alone_epochs,
        train_size=options.alone_size,
        test_size=options.test_size,
        rivals=RIVALS,
        device=options.device,
    )


def _with_predictors(report: RankReport, folders: list[Path], options: argparse.Namespace) -> RankReport:
    """The report with two more scores for each supernet: a predictor with and without what it says."""
    run = SupernetFolder(folders[0]).config
    asked = _rank_options(options)
    members, _ = drawn(run, replace(asked, archs=options.known, seed=KNOWN_SEED + options.seed))
    known = [arch for group in members for arch in group]
    truth = _trained(known, trainings(run, options.out, asked))
    asked_for = list(report.subject.members)
    scores = dict(report.scores)
    for folder, name in zip(folders, report.supernets, strict=True):
        values = inherited(folder, [*known, *asked_for])
        scores[f"{name}, by loss"] = values[len(known) :, 1]
        scores[f"{PREDICTED} with {name}"] = corrected(known, truth, asked_for, inherited=values)
    scores[f"{PREDICTED} alone"] = corrected(known, truth, asked_for, inherited=None)
    return ranked(report.subject, scores, supernets=report.supernets, top=report.top)


def _trained(archs: list[Arch], alone: Standalone) -> np.ndarray:
    """Top-1 of networks trained by themselves from one seed. Shape [n]."""
    found = []
    for i, arch in enumerate(archs):
        _line(i, len(archs), f"known network {i + 1}")
        found.append(alone.top1(arch, seed=0))
    return np.array(found, dtype=np.float64)


def _line(done: int, total: int, doing: str) -> None:
    print(f"{done} of {total}; next {doing}", file=sys.stderr, flush=True)


def _took(what: str, started: float, spent: float) -> None:
    seconds, cpu = time.perf_counter() - started, time.process_time() - spent
    print(f"{what}; {seconds:.0f} s, {cpu:.0f} s of processor", flush=True)


if __name__ == "__main__":
    sys.exit(main())
