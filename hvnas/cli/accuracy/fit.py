"""``hvnas accuracy fit``: an estimator from results of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvnas.cli._screen import JsonOption, Screen, print_json

EXAMPLE = "hvnas accuracy fit --results trained.csv --out flowers"


def run(
    results: Annotated[
        Path,
        typer.Option(help="A CSV: arch, metric in percent; epochs, distilled, augmentation if they differ."),
    ],
    out: Annotated[str, typer.Option(metavar="NAME", help="The file to write; .json is added.")],
    as_json: JsonOption = False,
) -> None:
    """Fit an estimator to networks that you have trained.

    The published results enter as the prior. Its error with each result left out is printed; use the file as
    --estimator FILE.
    """
    from hvnas.accuracy.surrogate.own import fit_own, save_own

    path = Path(out if out.endswith(".json") else f"{out}.json")
    estimator = fit_own(results, path.stem)
    save_own(estimator, path)
    error = estimator.error
    if as_json:
        print_json({"estimator": str(path), **error})
        return
    screen = Screen()
    screen.line(f"{path}: {error['n']} results; each left out in turn:")
    screen.fields(
        (
            ("mean absolute error", error["mae"]),
            ("root mean square", error["rmse"]),
            ("Kendall tau", error["tau"]),
        )
    )
