"""``hvnas train``: train a network into a folder that can be evaluated, exported and reported."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas import _numbers as numbers
from hvnas.cli._failure import Failure
from hvnas.cli._progress import check_device, run_training
from hvnas.cli._request import takes
from hvnas.cli._screen import JsonOption, Screen, print_json
from hvnas.train.request import TrainRequest, Workers

if TYPE_CHECKING:
    from hvnas.train.folder import TrainFolder
    from hvnas.train.run import Outcome

EXAMPLE = "hvnas train runs/phone --data folder:photos --recipe tiny --epochs 20"


@takes(TrainRequest)
def run(
    request: TrainRequest,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel="Output",
            metavar="DIR",
            help="Default: train/ in the folder of a search, else one in runs/.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", rich_help_panel="Output", help="Continue the training in --out, if any."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a network on images, with the recipe of a paper.

    The data set determines classes and resolution. After an interruption, --resume continues to the same
    weights. hvnas evaluate, export and report take the folder; TensorBoard reads its events.
    """
    check_device(request.workers)
    folder = _folder(request, out, resume=resume)
    # Standard output carries the JSON object and nothing else.
    screen = Screen(errors=as_json)
    outcome = _train(folder, screen, request.workers)
    if as_json:
        print_json({"out": str(folder.path), **outcome.metrics})
    else:
        _print(outcome, folder, screen)


def _named(request: TrainRequest) -> tuple[str, str]:
    """Network and data. Raises Failure where one is missing."""
    if request.source is None:
        raise Failure("which network? Give a model's name, a YAML file, or the folder of a search")
    if request.data is None:
        raise Failure("which images? Name them with --data: digits, shapes, folder:DIR or hf:NAME")
    return request.source, request.data


def _folder(request: TrainRequest, out: Path | None, *, resume: bool) -> TrainFolder:
    from hvnas.train import starting
    from hvnas.train.folder import TrainFolder

    if out is None:
        out = starting.default_out(*_named(request))
    if resume and TrainFolder(out).holds_run:
        return starting.resume(request, out)
    _named(request)
    return starting.start(request, out)


def _train(folder: TrainFolder, screen: Screen, workers: Workers) -> Outcome:
    from hvnas.train.on_ray import train_with
    from hvnas.train.run import train_in_folder

    arch, run = folder.arch, folder.config
    screen.remark(
        f"{arch.name}: {numbers.millions(arch.lower().params)} M params at {run.resolution} px, "
        f"{run.classes} classes; recipe {run.load_recipe().name}, {run.epochs} epochs"
    )
    train = partial(train_with, replace(workers, count=run.workers), train_in_folder, folder)
    return run_training(
        partial(train, report=screen.remark), again=f"hvnas train --resume --out {folder.path}"
    )


def _print(outcome: Outcome, folder: TrainFolder, screen: Screen) -> None:
    from hvnas.latency.registry import stated_latency
    from hvnas.train.card import CARD

    metrics = outcome.metrics
    screen.heading("Epochs")
    screen.table(
        (">epoch", ">loss", ">validation top-1"),
        [
            (entry.epoch, f"{entry.loss:.4f}", numbers.optional(entry.top1, digits=2))
            for entry in outcome.result.history
        ],
    )
    screen.line()
    skipped = metrics["skipped"]["count"]
    screen.fields(
        [
            ("top-1", _top1(metrics)),
            ("epoch", f"{metrics['best_epoch']}, the best on the validation images: its weights are kept"),
            ("latency", stated_latency(folder.arch, folder.arch.found)),
            ("images/s", numbers.optional(metrics["images_per_s"], digits=0)),
            ("skipped", f"{skipped} unreadable images" if skipped else None),
            ("weights", folder.weights),
            ("card", folder.path / CARD if "per_class" in metrics else None),
        ]
    )


def _top1(metrics: dict[str, Any]) -> str:
    said = f"{metrics['top1']:.2f} on the test split of {metrics['data']}, scored once"
    if "top1_low" not in metrics:  # trained before intervals were kept
        return said
    return f"{said} (95 %: {metrics['top1_low']:.2f}–{metrics['top1_high']:.2f})"
