"""``hvnas predict``: what a trained or exported network sees in images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas._records import Column
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, listing

if TYPE_CHECKING:
    from hvnas.train.shipped import Guess, Prediction

EXAMPLE = "hvnas predict runs/phone/model.onnx photo.jpg"

_COLUMNS: tuple[Column[dict[str, Any]], ...] = (
    Column("image", "image"),
    Column(">rank", "rank"),
    Column("class", "class"),
    Column(">probability", "probability", lambda share: f"{share:.4f}"),
)


@answers
def run(
    network: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE", help="The folder of a training, or an exported .onnx, .tflite or folder."
        ),
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Image files.")],
    top: Annotated[int, typer.Option(min=1, help="Name this many of the likeliest classes.")] = 5,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where there is one.")] = None,
) -> Answer:
    """Name what a trained network sees in images.

    Images are read and normalised as in training: an exported file carries what that takes, and the names of
    its classes. Probabilities are those of the softmax.
    """
    from hvnas.train.shipped import predict

    predictions = predict(network, images, top=top, device=device)
    lines = [_line(each, rank, guess) for each in predictions for rank, guess in enumerate(each.top, 1)]
    shown = listing(_COLUMNS, lines, line=lambda line: line)
    return Answer(text=shown.text, csv=shown.csv, data=lambda: [_facts(each) for each in predictions])


def _line(prediction: Prediction, rank: int, guess: Guess) -> dict[str, Any]:
    return {"image": prediction.image, "rank": rank, **_named(guess)}


def _facts(prediction: Prediction) -> dict[str, Any]:
    return {"image": prediction.image, "top": [_named(guess) for guess in prediction.top]}


def _named(guess: Guess) -> dict[str, Any]:
    facts = asdict(guess)
    return {"class": facts.pop("name"), **facts}
