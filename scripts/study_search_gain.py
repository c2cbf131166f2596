"""Does searching pay?

    hvnas latency measure --out HOST.yaml
    python scripts/study_search_gain.py --device HOST.yaml --out GAIN
    python scripts/study_search_gain.py --device HOST.yaml --out GAIN --quick   # the mechanics alone

Searches a space under a latency budget on this host, at the resolution of the images, and trains what it
found from scratch beside 30 random members of the same measured latency (each is timed on this host in turn
with the network found, those within 10 % of it are kept) and beside the papers' networks, scaled in depth and
width to that latency: same data, recipe and seeds. Latencies are of the networks as the search has them, with
1,000 classes; training changes the classifier alone. The estimator of the search is the surrogate, which
speaks of ImageNet-1k; give another by --estimator.

Writes gain-DATA.csv (a row for each network and seed) and gain-DATA.png, and prints for each data set what
the found network gained over the random median and over the best of the scaled networks, with bootstrap
intervals (5-95 %: seeds and, of random members, networks drawn with replacement). Timings and trainings are
kept in the folder: called again, it goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gain.contenders import FOUND, RANDOM, Contender, Field, random_members, scaled_fixed_points
from gain.output import Comparison, latency_lines, verdict, write
from gain.searching import GainRequest, Searched, searched, space_at
from gain.timings import Timings, backend_of, host_timer

from hvnas._numbers import ms, points
from hvnas._runs import locked
from hvnas.arch import Arch, save_arch
from hvnas.latency import Device, load_device
from hvnas.latency.plots import check_target
from hvnas.space import Space
from hvnas.studies.alone import RECIPE, Alone, Standalone
from hvnas.train.fitting import fit_arch

# Epochs of the recipe `brief`: small networks take some seconds of a core each.
EPOCHS = {"digits": 2, "shapes": 1}
FEW = 64  # images of the quick form


def main(argv: Sequence[str] | None = None) -> list[Comparison]:
    """The comparisons, one for each data set."""
    options = _parse(argv)
    import torch

    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    check_target(options.out / "gain.png")
    with locked(options.out / ".lock"):
        trainings = [Standalone(options.out, _how(data, options)) for data in options.data]
        device = load_device(options.device)
        # One data set settles the classes, which a supernet's or a training's estimate needs.
        classes = trainings[0].data.classes if len(trainings) == 1 else None
        space = space_at(options.space, options.resolution, classes)
        found = _searches(space, device, options)
        field = _field(found[0], device, trainings[0], options)
        contenders = _contenders(space, found, field, options)
        compared = [_blank(found[0], field, contenders, training, options) for training in trainings]
        for comparison, training in zip(compared, trainings, strict=True):
            _train(comparison, training, options)
        return compared


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device", required=True, help="the latency table of this host, by name or YAML file"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--data", nargs="+", default=["digits", "shapes"])
    parser.add_argument("--space", default="hybrid-tiny")
    parser.add_argument("--resolution", type=int, default=32)
    search = parser.add_argument_group("the search")
    search.add_argument("--budget-ms", type=float, help="default: the lower quartile of random members")
    search.add_argument("--estimator", nargs="+", default=["surrogate"], help="one or more")
    search.add_argument("--estimate-recipe", default="modern300", help="that top-1 is estimated for")
    search.add_argument("--strategy", default="auto")
    search.add_argument("--evals", type=int, nargs="+", help="one number, or one for each estimator")
    search.add_argument("--margin", type=float)
    search.add_argument("--outside", choices=["forbid", "allow"], default="forbid")
    search.add_argument("--seed", type=int, default=0, help="of the search and of the random members")
    others = parser.add_argument_group("who is compared")
    others.add_argument("--members", type=int, default=30, help="random members")
    others.add_argument("--fixed-points", type=int, default=3, help="families, one scaled network of each")
    others.add_argument("--families", nargs="*", default=[], help="of fixed points; default: all")
    others.add_argument(
        "--screen", type=float, default=0.2, help="of predicted latency; farther is not timed"
    )
    others.add_argument("--share", type=float, default=0.1, help="of measured latency that counts as equal")
    others.add_argument("--backend", help="that times networks; default: the table's")
    training = parser.add_argument_group("training")
    training.add_argument("--recipe", default=RECIPE)
    training.add_argument("--epochs", type=int)
    training.add_argument("--train-size", type=int)
    training.add_argument("--test-size", type=int)
    training.add_argument("--seeds", type=int, default=3)
    training.add_argument("--member-seeds", type=int, help="of random members; default: as many")
    training.add_argument("--train-on", help="cpu or cuda")
    training.add_argument("--threads", type=int, default=1, help="of trainings; latency is of the table's")
    parser.add_argument("--quick", action="store_true", help="3 members, one seed, 64 images, any latency")
    options = parser.parse_args(argv)
    if options.evals and len(options.evals) not in (1, len(options.estimator)):
        parser.error(f"--evals: give one number or {len(options.estimator)}, got {len(options.evals)}")
    return _quick(options) if options.quick else options


def _quick(options: argparse.Namespace) -> argparse.Namespace:
    options.members, options.fixed_points, options.seeds = 3, 1, 1
    options.epochs, options.train_size, options.test_size = 1, FEW, FEW
    options.evals = options.evals or [200]
    # Where few members are drawn, any latency will do.
    options.screen = options.share = 10.0
    return options


def _how(data: str, options: argparse.Namespace) -> Alone:
    return Alone(
        data=data,
        resolution=options.resolution,
        train_size=options.train_size,
        test_size=options.test_size,
        recipe=options.recipe,
        epochs=options.epochs or EPOCHS.get(data),
        device=options.train_on,
    )


def _searches(space: Space, device: Device, options: argparse.Namespace) -> list[Searched]:
    """What each estimator finds, written to the folder as it is found; the first settles the budget."""
    every: list[Searched] = []
    evals = options.evals or [None]
    for i, estimator in enumerate(options.estimator):
        found = searched(
            space,
            device,
            GainRequest(
                budget_ms=every[0].budget_ms if every else options.budget_ms,
                estimator=estimator,
                recipe=options.estimate_recipe,
                strategy=options.strategy,
                evals=evals[i % len(evals)],
                margin=options.margin,
                outside=options.outside,
                seed=options.seed,
            ),
        )
        save_arch(found.arch, options.out / f"found{i + 1 if i else ''}.yaml")
        print(
            f"{space.name} on {device.name}, estimator {estimator}: {found.result.evaluated} "
            f"networks seen, {found.arch.name} found for {found.budget_ms:g} ms",
            flush=True,
        )
        every.append(found)
    return every


def _field(found: Searched, device: Device, training: Standalone, options: argparse.Namespace) -> Field:
    def fits(arch: Arch) -> bool:
        try:
            fit_arch(arch, training.data)
        except ValueError:
            return False
        return True

    timer = host_timer(options.backend or backend_of(device.info), threads=device.info.threads or 1)
    return Field(
        device=device,
        timings=Timings(options.out, timer, found.arch),
        fits=fits,
        screen=options.screen,
        share=options.share,
        on_step=_line,
    )


def _contenders(
    space: Space, found: list[Searched], field: Field, options: argparse.Namespace
) -> tuple[Contender, ...]:
    names = [f"found by {name}" if len(found) > 1 else "found" for name in options.estimator]
    ours = [field.contender(FOUND, name, own.arch) for name, own in zip(names, found, strict=True)]
    fixed = scaled_fixed_points(
        ours[0], field, score=found[0].score, count=options.fixed_points, families=options.families
    )
    members = random_members(space, ours[0], field, count=options.members, seed=options.seed)
    return (*ours, *fixed, *members)


def _blank(
    found: Searched,
    field: Field,
    contenders: tuple[Contender, ...],
    training: Standalone,
    options: argparse.Namespace,
) -> Comparison:
    """A comparison without any training."""
    return Comparison(
        training.how.data,
        found.budget_ms,
        field.timings.reference_ms,
        contenders,
        np.full((len(contenders), options.seeds), np.nan),
    )


def _train(compared: Comparison, training: Standalone, options: argparse.Namespace) -> None:
    """Train every contender, seed by seed, write what is known after each, and print it in the end."""
    for seed in range(options.seeds):
        for i, contender in enumerate(compared.contenders):
            if contender.role == RANDOM and seed >= (options.member_seeds or options.seeds):
                continue
            _line(f"{compared.data}: {contender.name} from seed {seed}")
            top1 = training.top1(contender.arch, seed=seed)
            compared.top1[i, seed] = np.nan if top1 is None else top1
        write(compared, options.out)
    _print(compared)


def _print(compared: Comparison) -> None:
    for i, (contender, took) in enumerate(zip(compared.contenders, compared.measured, strict=True)):
        row = compared.top1[i][np.isfinite(compared.top1[i])]
        print(
            f"  {contender.name:28} {ms(contender.predicted.ms):>7} ms predicted "
            f"{ms(took):>7} measured  {contender.arch.lower().macs / 1e6:6.1f} M MACs  "
            f"top-1 {points(float(compared.means[i]))}  seeds {' '.join(map(points, row.tolist()))}"
        )
    for line in (*latency_lines(compared), *verdict(compared)):
        print(line, flush=True)


def _line(doing: str) -> None:
    print(doing, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
