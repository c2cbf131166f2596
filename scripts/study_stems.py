"""Do convolutional stems make a transformer easier to train? Early Convolutions' claim, on `shapes`.

Trains a small ViT at 32 px with a patchify stem (P: 8 x 8 patches), a convolutional one (C: three 3 x 3, one
block fewer) and one between them (S), by AdamW and by SGD, over a grid of three learning rates and three
weight decays, at three schedule lengths. Prints for every stem, optimiser and length: the best, median and
worst top-1, their spread, the share of runs within 4 points of the best (the paper's measure, 2106.14881
section 5.2), the share that learnt anything (twice chance) and how many diverged; then what the optimiser
and the length of the schedule are worth.

    python scripts/study_stems.py --out FOLDER [--stems P C S] [--epochs 4 8 16] [--seeds 1]

Each training is kept in FOLDER/study_stems.csv when it ends: called again, it goes on. Draws
FOLDER/study_stems.svg.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from hvnas._files import write_atomic
from hvnas._records import csv_text
from hvnas.arch import Arch, load_arch
from hvnas.arch.edits import edited
from hvnas.latency.plots import save_figure
from hvnas.train.data import Data, load_data
from hvnas.train.recipes import Recipe, load_recipe, training_of
from hvnas.train.settings import Augment, Optimizer, Schedule
from hvnas.train.trainer import DivergedError, Trainer, network_for

WIDTH, BLOCKS = 64, 4
CONV = {"type": "conv_stem", "width": WIDTH, "bias": False, "act": "relu", "project": True}
STEMS = {
    "P": {"type": "patch_stem", "width": WIDTH, "kernel": 8, "stride": 8, "padding": 0},
    "C": {**CONV, "ratios": [0.25, 0.5, 1.0], "kernels": [3, 3, 3], "strides": [2, 2, 2]},
    "S": {**CONV, "ratios": [0.25, 1.0], "kernels": [3, 4], "strides": [2, 4]},
}
# Ends and geometric middle of the ranges that the paper draws from (section 4); SGD's learning rates scaled
# linearly from its batch of 2048 to ours.
BATCH = 64
GRID = {
    "adamw": ((2.5e-4, 1.4e-3, 8e-3), (0.02, 0.126, 0.8)),
    "sgd": (tuple(lr * BATCH / 2048 for lr in (0.1, 0.566, 3.2)), (4e-6, 2.2e-5, 1.2e-4)),
}
OPTIMISERS = {"adamw": "AdamW", "sgd": "SGD"}
NEAR = 4.0  # points


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of one training."""

    data: str
    stem: str
    optimizer: str
    epochs: int
    lr: float
    weight_decay: float
    seed: int


@dataclass(frozen=True)
class Run(TrainingSettings):
    """One training: its settings and what came of it; chance where it diverged."""

    top1: float
    diverged: bool

    @property
    def asked(self) -> TrainingSettings:
        """Its settings alone."""
        return TrainingSettings(
            **{name: getattr(self, name) for name in TrainingSettings.__dataclass_fields__}
        )


FIELDS = {
    "data": str, "stem": str, "optimizer": str, "epochs": int, "lr": float, "weight_decay": float,
    "seed": int, "top1": float, "diverged": "True".__eq__,
}  # fmt: skip


def network(stem: str) -> Arch:
    """A ViT of 16 tokens at 32 px; a convolutional stem takes the place of one block, as in the paper."""
    depth = BLOCKS - (stem != "P")
    edits = {
        "resolution": 32,
        "stem": STEMS[stem],
        "stages.0.downsample.width": WIDTH,
        "stages.0.global.width": WIDTH,
        "stages.0.global.head_dim": WIDTH // 2,
        "stages.0.global.depth": depth,
    }
    return replace(edited(load_arch("vit_p_1gf"), edits, where=stem), name=f"vit_{stem.lower()}")


def recipe_of(optimizer: str, lr: float, weight_decay: float) -> Recipe:
    """The recipe `tiny` with another optimiser, an epoch of warm-up, no augmentation and no clipping."""
    tiny = load_recipe("tiny")
    training = replace(
        training_of(tiny),
        batch=BATCH,
        optimizer=Optimizer(name=optimizer, lr=lr, weight_decay=weight_decay),  # type: ignore[arg-type]
        schedule=Schedule(warmup_epochs=1.0),
        augment=Augment(),
        clip=None,
    )
    return replace(tiny, training=training)


def train(asked: TrainingSettings, data: Data) -> Run:
    recipe = recipe_of(asked.optimizer, asked.lr, asked.weight_decay)
    model = network_for(network(asked.stem), data, recipe=recipe, seed=asked.seed)
    top1, diverged = 100.0 / data.classes, False
    try:
        trainer = Trainer(model, data, recipe=recipe, epochs=asked.epochs, seed=asked.seed)
        trainer.run()
        top1 = trainer.test()
    except DivergedError:
        diverged = True
    return Run(**vars(asked), top1=top1, diverged=diverged)


def asked_for(options: argparse.Namespace, data: Data) -> list[TrainingSettings]:
    """All trainings, short ones first."""
    cases = product(options.epochs, options.stems, GRID, range(options.seeds))
    return [
        TrainingSettings(data.key, stem, optimizer, epochs, lr, weight_decay, seed)
        for epochs, stem, optimizer, seed in cases
        for lr, weight_decay in product(*GRID[optimizer])
    ]


def runs(asked: Sequence[TrainingSettings], data: Data, file: Path) -> list[Run]:
    """The runs asked for, read from `file` where they are known, put there where they are not."""
    known = {run.asked: run for run in read(file)}
    started, epochs = time.perf_counter(), 0
    todo = [job for job in asked if job not in known]
    for job in todo:
        left = sum(other.epochs for other in todo) - epochs
        pace = (time.perf_counter() - started) / epochs if epochs else float("nan")
        print(
            f"{job.stem} {job.optimizer} {job.epochs} epochs, {left * pace / 60:.1f} min left",
            file=sys.stderr,
        )
        known[job] = train(job, data)
        epochs += job.epochs
        write_atomic(file, csv_text(map(vars, known.values()), list(FIELDS)))
    return [known[job] for job in asked]


def read(file: Path) -> list[Run]:
    if not file.exists():
        return []
    with file.open(newline="") as rows:
        return [Run(**{name: FIELDS[name](row[name]) for name in FIELDS}) for row in csv.DictReader(rows)]


def top1_of(found: Sequence[Run], **wanted: object) -> np.ndarray:
    """Top-1 of the runs with these settings."""
    return np.array([r.top1 for r in found if all(getattr(r, k) == v for k, v in wanted.items())])


def print_spreads(
    found: Sequence[Run], stems: Sequence[str], lengths: Sequence[int], *, chance: float
) -> None:
    print(f"{'stem':5}{'optimiser':11}{'epochs':>6}{'best':>8}{'median':>8}{'worst':>8}{'spread':>8}"
          f"{'within 4':>10}{'learnt':>8}{'diverged':>10}")  # fmt: skip
    for stem, optimizer, epochs in product(stems, GRID, lengths):
        wanted = {"stem": stem, "optimizer": optimizer, "epochs": epochs}
        top1 = top1_of(found, **wanted)
        diverged = sum(r.diverged for r in found if all(getattr(r, k) == v for k, v in wanted.items()))
        near, learnt = 100 * (top1 >= top1.max() - NEAR).mean(), 100 * (top1 >= 2 * chance).mean()
        print(f"{stem:5}{optimizer:11}{epochs:6}{top1.max():8.1f}{np.median(top1):8.1f}{top1.min():8.1f}"
              f"{np.ptp(top1):8.1f}{near:8.0f} %{learnt:6.0f} %{diverged:10}")  # fmt: skip


def print_gaps(found: Sequence[Run], stems: Sequence[str], lengths: Sequence[int]) -> None:
    """What the optimiser and the schedule are worth, each side at its best settings."""
    print()
    for stem in stems:
        best = {(o, e): top1_of(found, stem=stem, optimizer=o, epochs=e).max() for o in GRID for e in lengths}
        gaps = ", ".join(f"{best['adamw', e] - best['sgd', e]:+.1f} at {e}" for e in lengths)
        longer = best["adamw", max(lengths)] - best["adamw", min(lengths)]
        print(f"{stem}: AdamW over SGD {gaps} epochs; AdamW from {min(lengths)} to {max(lengths)} epochs "
              f"{longer:+.1f}; sd over all runs {top1_of(found, stem=stem).std():.1f}")  # fmt: skip


def figure_of(found: Sequence[Run], title: str) -> Any:
    """Sorted top-1 of all settings, a colour per stem and a line style per length."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    lengths = sorted({r.epochs for r in found})
    for axis, optimizer in zip(axes, GRID, strict=True):
        for colour, stem in enumerate(STEMS):
            for epochs, line in zip(lengths, (":", "--", "-", "-."), strict=False):
                top1 = np.sort(top1_of(found, stem=stem, optimizer=optimizer, epochs=epochs))[::-1]
                if len(top1):
                    label = f"{stem}, {epochs} epochs"
                    axis.plot(np.linspace(0, 100, len(top1)), top1, line, color=f"C{colour}", label=label)
        axis.set(title=OPTIMISERS[optimizer], xlabel="settings, best first, %")
    axes[0].set_ylabel("top-1 on shapes")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.suptitle(title)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--stems", nargs="+", choices=STEMS, default=["P", "C", "S"])
    parser.add_argument("--epochs", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--train-size", type=int, default=8192)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    data = load_data("shapes", train_size=options.train_size)
    for stem in options.stems:
        program = network(stem).with_(classes=data.classes).lower()
        print(f"{stem}: {program.params:,} params, {program.macs / 1e6:.2f} M MACs")
    print(f"{data}; {len(GRID)} optimisers x 9 settings x {options.epochs} epochs, {options.seeds} seeds")
    options.out.mkdir(parents=True, exist_ok=True)
    found = runs(asked_for(options, data), data, options.out / "study_stems.csv")
    print_spreads(found, options.stems, options.epochs, chance=100 / data.classes)
    print_gaps(found, options.stems, options.epochs)
    save_figure(figure_of, found, options.out / "study_stems.svg", "ViTs on shapes, all settings")


if __name__ == "__main__":
    main()
