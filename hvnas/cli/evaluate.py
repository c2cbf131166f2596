"""``hvnas evaluate``: top-1 of a trained network on images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas import _numbers as numbers
from hvnas.cli._progress import Steps
from hvnas.cli._screen import JsonOption, Screen, print_json

if TYPE_CHECKING:
    from hvnas.train.score import Evaluation

EXAMPLE = "hvnas evaluate runs/phone/train --data folder:photos"


def run(
    network: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE|ARCH",
            help="The folder of a training, an exported .onnx, .tflite or folder, or a model's name or YAML.",
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="digits, shapes, folder:DIR or hf:NAME. Default: the training's.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="A safetensors file. Default: the training's.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Pixels of the images. Default: the training's, or the network's.")
    ] = None,
    test_size: Annotated[int | None, typer.Option(help="Use at most this many test images.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an image that cannot be read, instead of skipping it.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where there is one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a trained network on the test split of images.

    Prints top-1, top-5 where there are more than five classes, and the mean cross-entropy. What hvnas
    export wrote is run as it is, by the runtime that it is for.
    """
    from hvnas.train.score import evaluate

    with Steps("images") as steps:
        found = evaluate(
            network,
            data=data,
            weights=weights,
            resolution=resolution,
            test_size=test_size,
            strict=strict,
            device=device,
            progress=lambda done, total: steps.at(done, "scoring", total=total),
        )
    if found.remark:
        Screen(errors=True).remark(found.remark)
    if as_json:
        print_json(_facts(found))
    else:
        _print(found)


def _facts(evaluation: Evaluation) -> dict[str, Any]:
    skipped = evaluation.data.test.skipped
    program = None if evaluation.arch is None else evaluation.arch.lower()
    return {
        "network": evaluation.name,
        "arch_hash": evaluation.arch_hash,
        "weights": str(evaluation.weights),
        "finished": evaluation.finished,
        "data": evaluation.data.name,
        "resolution": evaluation.data.resolution,
        **vars(evaluation.scores),
        "params": None if program is None else program.params,
        "macs": None if program is None else program.macs,
        "latency": None if evaluation.latency is None else evaluation.latency.to_json(),
        "skipped": {"count": len(skipped), "images": [list(entry) for entry in skipped]},
    }


def _print(evaluation: Evaluation) -> None:
    scores, skipped = evaluation.scores, evaluation.data.test.skipped
    screen = Screen()
    screen.line(
        f"{evaluation.name} on the test split of {evaluation.data.name} at {evaluation.data.resolution} px"
    )
    screen.fields(
        [
            ("top-1", f"{scores.top1:.2f}"),
            ("top-5", numbers.optional(scores.top5, digits=2)),
            ("loss", f"{scores.loss:.4f}"),
            ("images", scores.images),
            ("latency", evaluation.latency),
            ("skipped", f"{len(skipped)} unreadable images" if skipped else None),
            (
                "weights",
                evaluation.weights
                if evaluation.finished
                else f"{evaluation.weights} (training is not finished)",
            ),
        ]
    )
    for name, reason in skipped:
        Screen(errors=True).remark(f"skipped {name}: {reason}")
