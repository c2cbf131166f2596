"""``hvnas train``: train a network into a folder that can be evaluated, exported and reported."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas.cli import _numbers as numbers
from hvnas.cli._failure import Failure
from hvnas.cli._screen import Screen, print_json
from hvnas.cli._training import (
    SAVE_EVERY,
    DataOption,
    DeviceOption,
    EpochsOption,
    JsonOption,
    ResolutionOption,
    SaveEveryOption,
    TestSizeOption,
    TrainSizeOption,
    carry_out,
    check_device,
)
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
    from hvnas.train.asked import Asked
    from hvnas.train.folder import TrainFolder
    from hvnas.train.on_ray import Workers
    from hvnas.train.run import Outcome


def run(
    network: Annotated[
        str | None,
        typer.Argument(metavar="[ARCH|RUN]", help="A model's name, a YAML file, or the folder of a search."),
    ] = None,
    data: DataOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="How to train; a wrong name lists them. Default: tiny."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Default: train/ in the folder of a search, else one in runs/."),
    ] = None,
    epochs: EpochsOption = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Images a step, the learning rate in proportion. Default: the recipe's."),
    ] = None,
    resolution: ResolutionOption = None,
    train_size: TrainSizeOption = None,
    test_size: TestSizeOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an image that cannot be read, instead of skipping it.")
    ] = False,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="A safetensors file that the network begins with.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|ARCH|none", help="What a recipe that distils learns of: a trained network."
        ),
    ] = None,
    teacher_weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="The weights of a teacher that is no trained RUN.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="End after so many epochs without a better top-1.")
    ] = None,
    single_scale: Annotated[
        bool, typer.Option("--single-scale", help="One resolution, whatever the recipe says.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Of weights, batches and augmentation. Default: 0.")
    ] = None,
    device: DeviceOption = None,
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    cpus_per_worker: CpusOption = 1.0,
    gpus_per_worker: GpusOption = 0.0,
    address: AddressOption = None,
    save_every: SaveEveryOption = SAVE_EVERY,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in --out, if any.")
    ] = False,
    latency_device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Whose latency is stated of the network as trained. Default: the one it was found for.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a network on images, with the recipe of a paper or one for small data.

    The data decides on classes and resolution. Stopped or killed, --resume goes on to the same weights. The
    folder then goes to hvnas evaluate, export and report; TensorBoard reads its events.
    """
    from hvnas.train.asked import Asked, begin, default_out, go_on

    asked = Asked(
        source=network,
        data=data,
        resolution=resolution,
        train_size=train_size,
        test_size=test_size,
        strict=strict or None,
        recipe=recipe,
        epochs=epochs,
        batch=batch,
        patience=patience,
        single_scale=single_scale,
        teacher=teacher,
        teacher_weights=teacher_weights,
        weights=weights,
        seed=seed,
        workers=counted(engine, workers),
    )
    check_device(device, engine)
    if out is None:
        out = default_out(*_named(asked))
    folder = _folder(
        asked, out, resume=resume, begin=partial(begin, latency_device=latency_device), go_on=go_on
    )
    shared = workers_of(
        engine,
        count=folder.run.workers,
        cpus=cpus_per_worker,
        gpus=gpus_per_worker,
        address=address,
        device=device,
        save_every=save_every,
    )
    # Standard output carries the JSON object and nothing else.
    screen = Screen(errors=as_json)
    outcome = _train(folder, screen, device=device, save_every=save_every, workers=shared)
    if as_json:
        print_json({"out": str(folder.path), **outcome.metrics})
    else:
        _print(outcome, folder, screen)


def _named(asked: Asked) -> tuple[str, str]:
    """Network and data. Raises Failure where one is missing."""
    if asked.source is None:
        raise Failure("which network? Give a model's name, a YAML file, or the folder of a search")
    if asked.data is None:
        raise Failure("which images? Name them with --data: digits, shapes, folder:DIR or hf:NAME")
    return asked.source, asked.data


def _folder(asked: Asked, out: Path, *, resume: bool, begin: Any, go_on: Any) -> TrainFolder:
    from hvnas.train.folder import TrainFolder

    found: TrainFolder
    if resume and TrainFolder(out).holds_run:
        found = go_on(asked, out)
        return found
    _named(asked)
    found = begin(asked, out)
    return found


def _train(
    folder: TrainFolder, screen: Screen, *, device: str | None, save_every: float, workers: Workers | None
) -> Outcome:
    from hvnas.train.on_ray import train_folder_on_ray
    from hvnas.train.run import held, train_in_folder

    arch, run = folder.arch, folder.run
    screen.remark(
        f"{arch.name}: {numbers.millions(arch.lower().params)} M params at {run.resolution} px, "
        f"{run.classes} classes; recipe {run.recipe['name']}, {run.epochs} epochs"
    )
    train = (
        partial(train_in_folder, folder, device=device, save_every=save_every)
        if workers is None
        else partial(train_folder_on_ray, folder, workers)
    )
    with held(folder):
        return carry_out(partial(train, say=screen.remark), again=f"hvnas train --resume --out {folder.path}")


def _print(outcome: Outcome, folder: TrainFolder, screen: Screen) -> None:
    from hvnas.latency.stated import stated_latency

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
            ("top-1", f"{metrics['top1']:.2f} on the test split of {metrics['data']}, scored once"),
            ("epoch", f"{metrics['best_epoch']}, the best on the validation images: its weights are kept"),
            ("latency", stated_latency(folder.arch, folder.arch.found)),
            ("images/s", numbers.optional(metrics["images_per_s"], digits=0)),
            ("skipped", f"{skipped} unreadable images" if skipped else None),
            ("weights", folder.weights),
        ]
    )
