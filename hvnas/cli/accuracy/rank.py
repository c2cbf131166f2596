"""``hvnas accuracy rank``: layouts of one size in order, each rank with its probability."""

from __future__ import annotations

from typing import Annotated

import typer

from hvnas._numbers import chance, points
from hvnas.cli._screen import Screen, print_json


def run(
    archs: Annotated[list[str], typer.Argument(metavar="ARCH...", help="Models by name, or YAML files.")],
    recipe: Annotated[str, typer.Option(help="How the networks are trained.")] = "modern300",
    scenario: Annotated[str, typer.Option(help="imagenet1k or large-data.")] = "imagenet1k",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Rank layouts whose params and MACs agree within 5 %.

    The probability of a place covers what the published results leave open.
    """
    from hvnas.accuracy import Surrogate, load_estimator
    from hvnas.accuracy.surrogate.surrogate import rank_probabilities
    from hvnas.arch import load_arch

    surrogate = load_estimator("surrogate")
    assert isinstance(surrogate, Surrogate)
    networks = [load_arch(name) for name in archs]
    found = rank_probabilities(networks, surrogate, recipe=recipe, scenario=scenario)
    assumed = surrogate.assumptions(networks)
    if as_json:
        print_json(
            {
                "recipe": recipe,
                "scenario": scenario,
                "order": [networks[i].name for i in found.order],
                "probabilities": {
                    networks[i].name: found.probabilities[i].round(4).tolist() for i in found.order
                },
                "top1": {networks[i].name: round(float(found.mean[i]), 2) for i in found.order},
                "top1_sd": {networks[i].name: round(float(found.sd[i]), 2) for i in found.order},
                "assumed": list(assumed),
            }
        )
        return
    screen = Screen()
    screen.line(f"recipe {recipe}, scenario {scenario}")
    screen.table(
        (">place", "network", ">probability", ">first", ">top-1"),
        [
            (
                place + 1,
                networks[i].name,
                chance(float(found.probabilities[i, place])),
                chance(float(found.probabilities[i, 0])),
                points(float(found.mean[i]), float(found.sd[i])),
            )
            for place, i in enumerate(found.order)
        ],
    )
    for sentence in assumed:
        screen.line(sentence)
