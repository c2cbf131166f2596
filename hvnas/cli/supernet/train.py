"""``hvnas supernet train``: train a supernet into a folder that searches can estimate from."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas import _numbers as numbers
from hvnas.cli._progress import check_device, run_training
from hvnas.cli._request import takes
from hvnas.cli._screen import JsonOption, Screen, print_json
from hvnas.supernet.request import SupernetRequest
from hvnas.train.request import Workers

if TYPE_CHECKING:
    from hvnas.supernet.checkpoint import SupernetFolder
    from hvnas.supernet.run import SupernetResult

EXAMPLE = "hvnas supernet train --space hybrid-tiny --data shapes --out supernet"


@takes(SupernetRequest)
def run(
    request: SupernetRequest,
    *,
    out: Annotated[Path, typer.Option(rich_help_panel="Output", help="The folder to write.")],
    resume: Annotated[
        bool, typer.Option("--resume", rich_help_panel="Output", help="Continue the training in --out.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train one network whose slices are all members of a space.

    A search then takes the folder as --estimator supernet:DIR. After an interruption, --resume continues to
    the same weights. At the end a few members are scored with and without BatchNorm recalibration.
    """
    from hvnas.supernet import run

    check_device(request.workers)
    folder = run.resume(request, out) if resume else run.start(request, out)
    # Standard output carries the JSON object and nothing else.
    screen = Screen(errors=as_json)
    result = carry_on(folder, screen, request.workers)
    if as_json:
        print_json(_facts(result, folder))
    else:
        _print(result, folder, screen)


def carry_on(folder: SupernetFolder, screen: Screen, workers: Workers | None = None) -> SupernetResult:
    """Train the supernet of `folder` to its end, from its state where there is one, and show how it goes."""
    from hvnas.supernet import memory
    from hvnas.supernet.run import train_supernet
    from hvnas.train.on_ray import train_with

    run = folder.config
    need = memory(folder.space(), classes=run.classes, resolution=run.resolution)
    screen.remark(f"{run.space}: {need}")
    train = partial(train_with, workers or Workers(), train_supernet, folder)
    again = f"hvnas supernet train --out {folder.path} --resume"
    return run_training(partial(train, report=Screen(errors=True).remark), again=again, of=" of one member")


def _facts(result: SupernetResult, folder: SupernetFolder) -> dict[str, Any]:
    run = result.run
    return {
        "out": str(folder.path),
        "space": run.space,
        "space_hash": run.space_hash,
        "data": run.data,
        "resolution": run.resolution,
        "scheme": run.scheme,
        "recipe": run.recipe,
        "epochs": run.epochs,
        "seed": run.seed,
        "bn_calib": run.bn_calib,
        "importance": run.importance,
        "history": [vars(entry) for entry in result.result.history],
        "members": [
            {
                "name": member.name,
                "hash": member.arch.hash,
                "macs": member.arch.lower().macs,
                "top1": member.top1,
                "top1_uncalibrated": member.top1_uncalibrated,
            }
            for member in result.members
        ],
    }


def _print(result: SupernetResult, folder: SupernetFolder, screen: Screen) -> None:
    run, history = result.run, result.result.history
    screen.heading("Epochs")
    screen.table(
        (">epoch", ">loss", ">top-1 of one member"),
        [(entry.epoch, f"{entry.loss:.3f}", numbers.points(entry.top1)) for entry in history],
    )
    calibrated = f"recalibrated on {run.bn_calib} images and not" if run.bn_calib else "as trained"
    screen.heading(f"Members with inherited weights, BatchNorm {calibrated}")
    screen.table(
        ("member", ">MACs (G)", ">recalibrated", ">not"),
        [
            (
                member.name,
                numbers.billions(member.arch.lower().macs),
                None if member.top1 is None else numbers.points(member.top1),
                numbers.points(member.top1_uncalibrated),
            )
            for member in result.members
        ],
    )
    screen.line()
    screen.line(f"search with --estimator supernet:{folder.path}")
