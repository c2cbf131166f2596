"""``hvnas supernet train``: train a supernet into a folder that searches can estimate from."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas.cli import _numbers as numbers
from hvnas.cli._failure import INTERRUPTED, Failure
from hvnas.cli._progress import Steps
from hvnas.cli._screen import Screen, print_json
from hvnas.cli._signals import Stopping, stopping
from hvnas.cli._workers import (
    AddressOption,
    CpusOption,
    EngineOption,
    GpusOption,
    WorkersOption,
    counted,
    workers_of,
)

if TYPE_CHECKING:
    from hvnas.supernet.checkpoint import SupernetFolder
    from hvnas.supernet.train import SupernetResult
    from hvnas.train.loop import Progress
    from hvnas.train.on_ray import Workers


def run(
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    space: Annotated[str | None, typer.Option(help="A space by name, or a YAML file.")] = None,
    data: Annotated[str | None, typer.Option(help="digits, shapes, folder:DIR or hf:NAME.")] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            help="spreading, sandwich, widening, conflict-aware, single-path, fair or shrinking. "
            "Default: spreading."
        ),
    ] = None,
    paths: Annotated[int | None, typer.Option(help="Random networks a step. Default: the scheme's.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe with a training section. Default: supernet.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs. Default: the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step. Default: the recipe's.")] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Pixels of the images. Default: the data set's.")
    ] = None,
    train_size: Annotated[int | None, typer.Option(help="At most so many training images.")] = None,
    test_size: Annotated[int | None, typer.Option(help="At most so many test images.")] = None,
    bn_calib: Annotated[
        int | None,
        typer.Option(
            help="Training images that BatchNorm is recalibrated on to evaluate; 0: none. Default: 512."
        ),
    ] = None,
    importance: Annotated[
        bool | None,
        typer.Option(
            "--importance",
            help="Learn the importance of each block beside the weights, for --strategy slimming.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, batches and draws. Default: 0.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where there is one.")] = None,
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    cpus_per_worker: CpusOption = 1.0,
    gpus_per_worker: GpusOption = 0.0,
    address: AddressOption = None,
    save_every: Annotated[float, typer.Option(help="Seconds between checkpoints in an epoch.")] = 300.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train one network whose slices are all members of a space.

    A search then takes the folder as --estimator supernet:DIR. Stopped or killed, --resume goes on to the
    same weights. At the end a few members are scored with and without BatchNorm recalibration.
    """
    from hvnas.parallel import WorkersLost
    from hvnas.supernet.train import Asked, begin, go_on

    count = counted(engine, workers)
    asked = Asked(
        space=space,
        data=data,
        resolution=resolution,
        train_size=train_size,
        test_size=test_size,
        recipe=recipe,
        epochs=epochs,
        batch=batch,
        scheme=scheme,
        paths=paths,
        bn_calib=bn_calib,
        importance=importance,
        seed=seed,
    )
    folder = go_on(asked, out) if resume else begin(asked, out)
    shared = workers_of(
        engine,
        count=count or 1,
        cpus=cpus_per_worker,
        gpus=gpus_per_worker,
        address=address,
        device=device,
        save_every=save_every,
    )
    # Standard output carries the JSON object and nothing else.
    screen = Screen(errors=as_json)
    stopped = Stopping()
    try:
        with stopping(stopped):
            result = _train(folder, screen, stopped, device=device, save_every=save_every, workers=shared)
    except KeyboardInterrupt:
        raise Failure(_stopped(folder), code=stopped.code or INTERRUPTED) from None
    except WorkersLost as error:
        raise Failure(str(error)) from None
    if not result.result.finished:
        raise Failure(_stopped(folder), code=stopped.code)
    if as_json:
        print_json(_facts(result, folder))
    else:
        _print(result, folder, screen)


def _train(
    folder: SupernetFolder,
    screen: Screen,
    stopped: Stopping,
    *,
    device: str | None,
    save_every: float,
    workers: Workers | None,
) -> SupernetResult:
    from hvnas.supernet.on_ray import train_supernet_on_ray
    from hvnas.supernet.train import train_supernet

    steps: list[Steps] = []

    def advanced(at: Progress) -> None:
        if not steps:
            steps.append(Steps("steps", at.epochs * at.steps))
            steps[0].__enter__()
        top1 = "" if at.top1 is None else f", top-1 of one member {numbers.points(at.top1)}"
        steps[0].at((at.epoch - 1) * at.steps + at.step, f"epoch {at.epoch}, loss {at.loss:.3f}{top1}")

    train = (
        partial(train_supernet, folder, device=device, save_every=save_every)
        if workers is None
        else partial(train_supernet_on_ray, folder, workers)
    )
    try:
        return train(
            progress=advanced,
            stop=stopped.event.is_set,
            announce=lambda need: screen.line(f"{folder.run.space}: {need}"),
            say=Screen(errors=True).line,
        )
    finally:
        for shown in steps:
            shown.__exit__()


def _stopped(folder: SupernetFolder) -> str:
    return f"stopped; hvnas supernet train --out {folder.path} --resume goes on with it"


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
