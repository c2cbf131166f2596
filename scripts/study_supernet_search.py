"""Is the best of a search by inherited weights better than random members of its latency?

    hvnas supernet train --space hybrid-tiny --data shapes --out ckpt
    hvnas search --space hybrid-tiny --estimator supernet:ckpt --device HOST.yaml --budget-ms 5 \\
        --strategy tpe --engine ray --evals 200 --out run
    python scripts/study_supernet_search.py --run run --out study

Draws random members of the run's space whose latency in the run's table is within 5 % of its best's, trains
all of them and the best by themselves with three seeds, by one recipe and on images that the supernet has not
seen, and prints top-1 and how far the best is above the median of the others, with a bootstrap's interval.
Trainings are kept in the folder: called again, it goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from gain.statistics import over_median

from hvnas._numbers import millions, ms, points
from hvnas.arch import Arch, load_arch
from hvnas.latency import Device, load_device
from hvnas.report.runs import load_run
from hvnas.space import Space, load_space
from hvnas.studies.alone import RECIPE, Alone, Standalone, draws, in_bins
from hvnas.supernet.checkpoint import SupernetFolder

UNSEEN = 1  # seed of the images


def main() -> int:
    options = _parse()
    torch.set_num_threads(options.threads)
    config = load_run(options.run).config
    device, best = load_device(config.device[0]), load_arch(options.run / "best.yaml")
    space = load_space(config.space)
    if config.resolution is not None and config.classes is not None:
        space = space.at(config.resolution, config.classes)
    others = _others(best, space, device, options)
    results = Standalone(options.out, _how(config.estimator, options))
    started, spent = time.perf_counter(), time.process_time()
    top1 = np.array([*_trained([best, *others], results, options.seeds)])
    seconds, cpu = time.perf_counter() - started, time.process_time() - spent
    print(f"{top1.size} trainings of {results.data}: {seconds:.0f} s, {cpu:.0f} s of processor")
    _print(best, others, device, top1)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of the search")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--members", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--spread", type=float, default=0.05, help="of latency, as a share")
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--train-size", type=int, default=12_288)
    parser.add_argument("--test-size", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0, help="of the random members")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default=None, help="cpu or cuda")
    parser.add_argument("--quick", action="store_true", help="four members, two seeds, 64 images")
    options = parser.parse_args()
    if options.quick:
        options.members, options.seeds = 4, 2
        options.train_size = options.test_size = 64
    return options


def _others(best: Arch, space: Space, device: Device, options: argparse.Namespace) -> list[Arch]:
    def latency(arch: Arch) -> float:
        return float(device.latency(arch.lower()).ms)

    archs = draws(space, rng=np.random.default_rng(options.seed), fit=lambda arch: arch)
    different = (arch for arch in archs if arch.hash != best.hash)
    centre = latency(best)
    return in_bins(different, (centre,), size=latency, share=options.spread, each=options.members)[0]


def _how(estimator: str, options: argparse.Namespace) -> Alone:
    """The data of the supernet that the run was estimated by."""
    folder = estimator.partition(":")[2].partition(",")[0]
    run = SupernetFolder(folder).config
    return Alone(
        data=run.data,
        resolution=run.resolution,
        train_size=options.train_size,
        test_size=options.test_size,
        recipe=options.recipe,
        epochs=options.epochs,
        data_seed=UNSEEN,
        device=options.device,
    )


def _trained(archs: list[Arch], results: Standalone, seeds: int) -> Iterator[list[float]]:
    for number, arch in enumerate(archs):
        print(f"network {number + 1} of {len(archs)}", file=sys.stderr, flush=True)
        found = [results.top1(arch, seed=seed) for seed in range(seeds)]
        yield [top1 for top1 in found if top1 is not None]


def _print(best: Arch, others: list[Arch], device: Device, top1: np.ndarray) -> None:
    for name, arch, row in zip(["best", *(o.hash for o in others)], [best, *others], top1, strict=True):
        program = arch.lower()
        print(
            f"  {name:12}  {ms(float(device.latency(program).ms)):>8} ms  {millions(program.macs):>8} M MACs"
            f"  top-1 {points(row.mean()):>5}  seeds {' '.join(points(value) for value in row)}"
        )
    mean = top1.mean(1)
    rest = mean[1:]
    gain = over_median(top1[0], top1[1:])
    print(f"best {points(mean[0])}, median of {len(rest)} random members {points(float(np.median(rest)))}")
    print(
        f"difference {gain.value:+.1f} points [{gain.low:+.1f}, {gain.high:+.1f}]; "
        f"better than {int((mean[0] > rest).sum())} of {len(rest)}"
    )


if __name__ == "__main__":
    sys.exit(main())
